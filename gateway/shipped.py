"""Data that comes with the program: rule packs and profiles, in a wheel or beside the package in the repository."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.errors import WrongUse

__all__ = ["shipped_texts"]


def shipped_texts(folder: str) -> list[tuple[str, str]]:
    """Return (file name, text) of the shipped YAML files of `rulepacks` or `profiles`, by name.

    Raises WrongUse when the installation has lost them.
    """
    place = _folder(folder)
    if place is None:
        raise WrongUse(f"the shipped {folder} are missing", remedy="install metergate again")
    found = sorted((f for f in place.iterdir() if f.name.endswith((".yaml", ".yml"))), key=lambda f: f.name)
    return [(f.name, f.read_text("utf-8")) for f in found]


def _folder(name: str) -> Traversable | None:
    """Return the folder in the wheel, else the repository's `config/` beside the package."""
    wheel = files("gateway").joinpath("shipped", name)
    if wheel.is_dir():
        return wheel
    beside = Path(__file__).resolve().parent.parent / "config" / name
    return beside if beside.is_dir() else None
