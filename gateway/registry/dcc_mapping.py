"""What a person said once of a laboratory's DCCs: which column is what, and which device an identification means.

Files `config/dcc/*.yaml`, any of two lists:

    mappings:
      - laboratory: "Laboratório de Metrologia (Lampe)"      # as the certificate names it
        columns: {reference: "Valor de referência", indication: "Valor medido", error: "Erro"}
    devices:
      - {identification: "TR 486", device: scale-07, channel: mass}

A column is named in any of its languages, or by its place (`#2`). `columns` has `reference` and `indication`, or one of
them with `error` or `correction`; `U` and `k` where they are columns of their own; `x` where the error is over
something else than the reference, such as the flow. Where refTypes say the rest, any of these three may stand alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, model_validator

from gateway.errors import Mistake, Mistakes, WrongUse
from gateway.registry.dcc import Role
from gateway.registry.fields import AnyText, Ident, Text
from gateway.registry.textfile import read_text
from gateway.registry.validation import Written, validate
from gateway.registry.yamltext import parse

__all__ = ["Bound", "Mappings", "columns_said", "read_mappings", "remember"]

REMEMBERED = "remembered.yaml"
_HEAD = "# Written by `metergate … --remember`; other files in this folder are yours.\n"


class ColumnsSpec(Written):
    """Role -> the name of its column."""

    reference: Text | None = None
    indication: Text | None = None
    error: Text | None = None
    correction: Text | None = None
    U: Text | None = None
    k: Text | None = None
    x: Text | None = None

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if self.error is not None and self.correction is not None:
            raise ValueError("needs error or correction (correction = -error), not both")
        values, signed = (self.reference, self.indication), self.error or self.correction
        if values == (None, None) and signed is None and (self.x or self.U or self.k):
            return self  # the rest is said by refTypes
        if None in values and (signed is None or values == (None, None)):
            raise ValueError("needs reference and indication, or one of them with error or correction")
        return self

    @property
    def names(self) -> dict[Role, str]:
        """The columns by role."""
        said = {role: getattr(self, role.value) for role in Role}
        return {role: name for role, name in said.items() if name is not None}


class MappingSpec(Written):
    """The columns of one laboratory."""

    laboratory: AnyText
    columns: ColumnsSpec


class Bound(Written):
    """The device, and the channel if it has several, that an identification means."""

    identification: AnyText
    device: Ident
    channel: Ident | None = None


class MappingFile(Written):
    """One file."""

    mappings: list[MappingSpec] = Field(default_factory=list)
    devices: list[Bound] = Field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mappings:
    """Everything remembered."""

    columns: Sequence[tuple[str, Mapping[Role, str]]] = ()
    devices: Sequence[Bound] = ()

    def of(self, laboratory: str | None) -> list[Mapping[Role, str]]:
        """Return the mappings of a laboratory, the latest first."""
        wanted = _folded(laboratory or "")
        return [names for name, names in reversed(self.columns) if _folded(name) == wanted]

    def bound(self, identifications: Iterable[str]) -> Bound | None:
        """Return what is remembered of the first identification that anything is remembered of, the latest."""
        return next((b for i in identifications for b in reversed(self.devices) if b.identification == i), None)


def read_mappings(folder: Path) -> Mappings:
    """Return what the files of a folder remember; a missing folder remembers nothing. Raises Mistakes."""
    columns: list[tuple[str, Mapping[Role, str]]] = []
    devices: list[Bound] = []
    mistakes: list[Mistake] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        found = _read(path)
        if isinstance(found, list):
            mistakes += found
            continue
        columns += [(m.laboratory, m.columns.names) for m in found.mappings]
        devices += found.devices
    if mistakes:
        raise Mistakes(mistakes)
    return Mappings(columns=columns, devices=devices)


def _read(path: Path) -> MappingFile | list[Mistake]:
    text = read_text(path)
    if isinstance(text, Mistake):
        return [text]
    document = parse(text, str(path))
    if document.mistakes:
        return list(document.mistakes)
    return validate(MappingFile, document.tree, document)


def columns_said(said: Iterable[str]) -> dict[Role, str]:
    """Return the columns of options such as `error=Messabweichung`; WrongUse when one is not understood."""
    found: dict[str, str] = {}
    for text in said:
        role, equals, name = text.partition("=")
        if not equals or role.strip() not in set(Role) or not name.strip():
            raise WrongUse(
                f"--column {text[:60]!r} is not ROLE=NAME", remedy=f"roles are {', '.join(Role)}, such as error=Erro"
            )
        if role.strip() in found:
            raise WrongUse(f"--column names the {role.strip()} twice", remedy="give each role once")
        found[role.strip()] = name.strip()
    if not found:
        return {}
    try:
        return ColumnsSpec.model_validate(found).names
    except ValueError as error:
        words = str(error).split("Value error, ")[-1].split(" [")[0]
        raise WrongUse(
            f"--column: {words}", remedy="such as --column reference=Last --column error=Abweichung"
        ) from None


def remember(
    folder: Path, laboratory: str | None, columns: Mapping[Role, str], bound: Bound | None = None
) -> Path | None:
    """Add what was said of a certificate to the folder's own file; None when there was nothing new to remember."""
    path = folder / REMEMBERED
    known = _read(path) if path.exists() else MappingFile()
    if isinstance(known, list):
        raise Mistakes(known)
    mappings, devices = list(known.mappings), list(known.devices)
    if columns and laboratory is not None:
        spec = MappingSpec(laboratory=laboratory, columns=ColumnsSpec(**{r.value: n for r, n in columns.items()}))
        mappings = [*(m for m in mappings if m != spec), spec]
    if bound is not None:
        devices = [*(d for d in devices if d.identification != bound.identification), bound]
    changed = MappingFile(mappings=mappings, devices=devices)
    if changed == known:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(changed.model_dump(exclude_none=True), allow_unicode=True, sort_keys=False, width=120)
    path.write_text(_HEAD + text, encoding="utf-8")
    return path


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
