"""Options of the commands that read DCC XML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.errors import WrongUse

if TYPE_CHECKING:
    from gateway.registry.dcc import Role
    from gateway.registry.dcc_binding import DccBinding
    from gateway.registry.dcc_mapping import Mappings

__all__ = [
    "ColumnOption", "RememberOption", "Said", "SignOption", "TrustOption", "binding_of", "mapping_folder",
    "mappings_of", "remember_said", "sign_of", "utc_now",
]  # fmt: skip

ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="ROLE=NAME",
        help="DCC XML without refTypes: which column is reference, indication, error, correction, U, k (repeatable).",
    ),
]
RememberOption = Annotated[
    bool, typer.Option("--remember", help="Remember what --column (and --device) says in config/dcc.")
]
SignOption = Annotated[
    str | None,
    typer.Option("--sign", metavar="error|correction", help="DCC XML: what its column of errors holds."),
]
TrustOption = Annotated[
    list[Path] | None,
    typer.Option("--trust", help="PEM file of issuers whose signatures of DCC XML are trusted (repeatable)."),
]


def sign_of(text: str | None) -> Role | None:
    """Return what --sign says; WrongUse for anything else."""
    from gateway.registry.dcc import Role

    if text is None:
        return None
    if text not in {Role.ERROR, Role.CORRECTION}:
        raise WrongUse(f"--sign {text[:40]!r} is not known", remedy="say error (I - R) or correction (R - I)")
    return Role(text)


def mappings_of(config: Path | None) -> Mappings:
    """Return what is remembered in config/dcc."""
    from gateway.registry.dcc_mapping import read_mappings

    return read_mappings(mapping_folder(config))


def mapping_folder(config: Path | None) -> Path:
    """Return where mappings of DCC columns are."""
    from gateway.settings import config_folder

    return config_folder(config) / "dcc"


def utc_now() -> datetime:
    """Return the time, for certificates of signers."""
    from gateway.runtime.clock import now_ns

    return datetime.fromtimestamp(now_ns() // 10**9, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What options of a command say of DCC XML."""

    device: str | None
    channel: str | None
    table: str | None
    number: str | None
    column: list[str] | None
    sign: str | None
    trust: list[Path] | None

    @property
    def of_one(self) -> bool:
        """Whether something is said that can hold for one certificate only."""
        return any(word is not None for word in (self.device, self.channel, self.table, self.number))


def binding_of(paths: Sequence[Path], said: Said, config: Path | None) -> DccBinding | None:
    """Return how the DCC XML among the paths is bound; None when there is none, so that its libraries stay out.

    WrongUse when what is said of one certificate meets several, or none.
    """
    files = list(_xml_files(paths))
    if said.of_one and len(files) != 1:
        found = "there is none" if not files else f"there are {len(files)}"
        raise WrongUse(
            f"--device, --channel, --table and --id are for one DCC XML file; {found}", remedy="apply it by itself"
        )
    if not files:
        return None
    from gateway.registry.dcc_binding import DccBinding
    from gateway.registry.dcc_mapping import columns_said
    from gateway.registry.dcc_signature import trusted_certificates

    return DccBinding(
        device=said.device,
        channel=said.channel,
        table=said.table,
        number=said.number,
        said=columns_said(said.column or ()),
        remembered=mappings_of(config),
        sign=sign_of(said.sign),
        trusted=trusted_certificates(said.trust or ()),
        now=utc_now(),
    )


def remember_said(paths: Sequence[Path], said: Said, config: Path | None) -> str:
    """Remember the columns and the device said of one DCC; return what is to be told."""
    from gateway.registry.dcc import read_dcc
    from gateway.registry.dcc_mapping import Bound, columns_said, remember

    files, columns = list(_xml_files(paths)), columns_said(said.column or ())
    if len(files) != 1 or not (columns or said.device):
        raise WrongUse("there is nothing to remember", remedy="say --column or --device of one DCC XML file")
    dcc = read_dcc(files[0].read_bytes(), str(files[0]))
    if isinstance(dcc, list):
        return "nothing is remembered of a certificate that is refused"
    names = [i for item in dcc.items for i in item.identifications]
    bound = None
    if said.device is not None and names:
        bound = Bound(identification=names[0], device=said.device, channel=said.channel)
    path = remember(mapping_folder(config), dcc.laboratory, columns, bound)
    return f"remembered for {dcc.laboratory}" + ("" if path is None else f" in {path}")


def _xml_files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix.lower() == ".xml" and p.is_file())
        elif path.suffix.lower() == ".xml":  # one that is missing too: reading it says so
            yield path
