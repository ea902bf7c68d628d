"""Options of the commands that read DCC XML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.registry.dcc import Role
    from gateway.registry.dcc_mapping import Mappings

__all__ = ["ColumnOption", "RememberOption", "SignOption", "TrustOption", "mapping_folder", "mappings_of", "sign_of"]

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
    from gateway.errors import WrongUse
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
