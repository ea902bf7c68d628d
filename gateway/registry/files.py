"""Registry files and folders, read: `*.yaml` and `*.yml` with any of the lists, `*.csv`, `*.xml` with certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gateway.errors import Mistake, Mistakes, WrongUse
from gateway.metrology.rulepacks import RulePacks, catalogue
from gateway.registry.certificates_csv import parse_certificates_csv
from gateway.registry.specs import Specs
from gateway.registry.textfile import read_text
from gateway.registry.texts import parse_registry
from gateway.shipped import shipped_texts

if TYPE_CHECKING:
    from gateway.registry.dcc_binding import DccBinding

__all__ = ["read_registry", "read_rule_packs", "registry_files"]

SUFFIXES = (".yaml", ".yml", ".csv", ".xml")


def read_registry(paths: Iterable[Path], *, known: Specs | None = None, dcc: DccBinding | None = None) -> Specs:
    """Return the specs in files and folders (below them too), files in the order of their names, DCC XML last.

    Mistakes are part of the result: `build` raises them, together with its own. WrongUse when a path is missing, holds
    no registry file, or is of another format. A DCC is bound to one of the devices read or `known`.
    """
    files = registry_files(paths)
    specs = reduce(add, (_read(path) for path in files if not _is_xml(path)), Specs())
    certificates = [path for path in files if _is_xml(path)]
    return specs if not certificates else specs + _read_dccs(certificates, specs, known or Specs(), dcc)


def _is_xml(path: Path) -> bool:
    return path.suffix.lower() == ".xml"


def _read_dccs(paths: Iterable[Path], specs: Specs, known: Specs, dcc: DccBinding | None) -> Specs:
    from gateway.registry.dcc_binding import DccBinding, bind_dcc

    devices = {e.spec.id: e for e in (*known.devices, *specs.devices)}
    how = dcc or DccBinding()
    return reduce(add, (bind_dcc(path, list(devices.values()), how) for path in paths), Specs())


def registry_files(paths: Iterable[Path]) -> list[Path]:
    """Return the registry files among paths, each once; WrongUse when a path is none and holds none."""
    return list(dict.fromkeys(file for path in paths for file in _files(path)))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            raise WrongUse(
                f"{path} holds no registry file", remedy="put devices there as *.yaml, or name another folder"
            )
        yield from found
    elif not path.exists():
        raise WrongUse(f"{path} does not exist", remedy="name a registry file or folder, such as config/devices")
    elif path.suffix.lower() not in SUFFIXES:
        raise WrongUse(f"{path} is no registry file", remedy=f"registry files end in {', '.join(SUFFIXES)}")
    else:
        yield path


def _read(path: Path) -> Specs:
    text = read_text(path)
    if isinstance(text, Mistake):
        return Specs(mistakes=(text,))
    if path.suffix.lower() == ".csv":
        return parse_certificates_csv(text, str(path))
    return parse_registry(text, str(path))


def read_rule_packs(folder: Path, zone: ZoneInfo) -> RulePacks:
    """Return the shipped rule packs and the site's own in a folder, which override them; a missing folder is empty.

    Raises Mistakes with those of all files.
    """
    own: list[tuple[str, str]] = []
    mistakes: list[Mistake] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        text = read_text(path)
        if isinstance(text, Mistake):
            mistakes.append(text)
        else:
            own.append((str(path), text))
    if mistakes:
        raise Mistakes(mistakes)
    return catalogue(shipped_texts("rulepacks"), own=own, zone=zone)
