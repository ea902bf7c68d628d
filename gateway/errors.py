"""The error tree: what a person can meet, each with a stable code, a cause, a remedy and an exit code.

MetergateError
├── Refused       1  understood, and declined (a finding, a conflict, an immutable record)
├── WrongUse      2  the call, a file or a setting is wrong
│   └── Mistakes  2  every mistake of some files at once, each with file, line and key
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MetergateError", "Mistake", "Mistakes", "Refused", "WrongUse"]


class MetergateError(Exception):
    """One line for a person: the cause, and what to do about it."""

    code = "error"
    exit_code = 1

    def __init__(self, cause: str, *, remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.cause}; {self.remedy}" if self.remedy else self.cause


class Refused(MetergateError):
    """The request was understood and declined."""

    code = "refused"
    exit_code = 1


class WrongUse(MetergateError):
    """The call, a file or a setting cannot be used as it is."""

    code = "wrong_use"
    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Mistake:
    """One mistake in one place: `file:line: key: message`."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class Mistakes(WrongUse):
    """All mistakes of the files read, together; nothing was applied."""

    code = "mistakes"

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(m) for m in sorted(set(mistakes), key=lambda m: (m.file, m.line or 0, m.key))))
        self.mistakes = mistakes
