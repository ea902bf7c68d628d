"""When instruments are due by law where no certificate says so: a suggestion, never an entry in the registry."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes
from gateway.metrology.instants import format_instant
from gateway.metrology.validity import Intervals, interval_catalogue, suggest
from gateway.registry.model import Certificate, Device, Registry
from gateway.registry.textfile import read_text
from gateway.shipped import shipped_texts

__all__ = ["read_intervals", "suggested_due"]

SHIPPED = "rulepacks/intervals"


def read_intervals(folder: Path, zone: ZoneInfo) -> tuple[Intervals, ...]:
    """Return the shipped intervals and the site's own in a folder; raises Mistakes with those of all files."""
    own: list[tuple[str, str]] = []
    mistakes: list[Mistake] = []
    for path in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
        text = read_text(path)
        if isinstance(text, Mistake):
            mistakes.append(text)
        else:
            own.append((str(path), text))
    if mistakes:
        raise Mistakes(mistakes)
    return interval_catalogue(shipped_texts(SHIPPED), own, zone=zone)


def suggested_due(registry: Registry, intervals: tuple[Intervals, ...], zone: ZoneInfo) -> dict[str, dict[str, object]]:
    """Return, for each device whose latest verification names no end, when it ends by law, and why.

    A calibration starts no interval of the law.
    """
    latest: dict[str, Certificate] = {}
    for certificate in registry.certificates:
        if certificate.kind == "verification":
            latest[certificate.device] = certificate
    found = {}
    for name, certificate in latest.items():
        if certificate.valid_to is None:
            said = _suggestion(registry.devices[name], certificate, intervals, zone)
            if said is not None:
                found[name] = said
    return found


def _suggestion(
    device: Device, certificate: Certificate, intervals: tuple[Intervals, ...], zone: ZoneInfo
) -> dict[str, object] | None:
    found = suggest(
        intervals,
        performed_at=certificate.performed_at,
        zone=zone,
        kind=device.kind.value,
        rule_pack=device.rule_pack,
        parameters=device.parameters,
    )
    if found is None:
        return None
    return {
        "due": format_instant(found.due),
        "months": found.months,
        "certificate": certificate.id,
        "source": found.source,
        "status": "verified" if found.verified else "unverified",
        "candidates": [
            {
                "instrument": c.instrument,
                "months": c.months,
                "procedures": list(c.procedures),
                "status": "verified" if c.verified else "unverified",
                "note": c.note or None,
            }
            for c in found.candidates
        ],
    }
