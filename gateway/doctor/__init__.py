"""What `metergate doctor` looks at: one file in `gateway.doctor.checks` is one check, found by walking the folder.

A check is a function `check(site: Site) -> Iterable[Finding]`; it looks and changes nothing. What it cannot look at is
a finding too, never an exception.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gateway.settings import Settings

__all__ = ["Check", "Finding", "Grade", "Site", "all_checks", "examine", "fine", "problem", "warning"]


class Grade(StrEnum):
    """How a check came out; only a problem makes `doctor` exit 1."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line: what was found, and what to do about it when it is not fine."""

    grade: Grade
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is examined: settings, the folder they belong to, and the moment, ns."""

    settings: Settings
    config: Path | None
    at: int


Check = Callable[[Site], Iterable[Finding]]


def fine(what: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(grade=Grade.FINE, what=what)


def warning(what: str, remedy: str) -> Finding:
    """Return a finding that a person should know."""
    return Finding(grade=Grade.WARNING, what=what, remedy=remedy)


def problem(what: str, remedy: str) -> Finding:
    """Return a finding that a person has to mend."""
    return Finding(grade=Grade.PROBLEM, what=what, remedy=remedy)


def all_checks() -> dict[str, Check]:
    """Return the checks by name, in the order of their names."""
    from gateway.doctor import checks as folder

    names = sorted(m.name for m in pkgutil.iter_modules(folder.__path__))
    return {name: importlib.import_module(f"{folder.__name__}.{name}").check for name in names}


def examine(site: Site, only: Iterable[str] = ()) -> list[tuple[str, Finding]]:
    """Run the checks (all, or those named) and return (check, finding) in order."""
    from gateway.errors import MetergateError

    wanted = set(only)
    found: list[tuple[str, Finding]] = []
    for name, check in all_checks().items():
        if wanted and name not in wanted:
            continue
        try:
            found += [(name, finding) for finding in check(site)]
        except MetergateError as error:
            found.append((name, problem(error.cause, error.remedy)))
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            found.append((name, problem(f"cannot use{place}: {error.strerror or error}", "check path and permissions")))
    return found
