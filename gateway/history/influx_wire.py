"""What InfluxDB 2 answers to a write, as outcomes to act on.

Source: the write handler (`http/write_handler.go`) and API reference of InfluxDB 2.7. Anything that is not plainly
InfluxDB speaking (a proxy, a login page) is never taken for success, nor for a verdict on our lines.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

__all__ = [
    "BACKOFF_MAX_S", "RETRY_AFTER_MAX_S", "Answer", "Outcome", "backoff", "read_answer", "retry_after", "spoken",
    "system_words", "tls_words",
]  # fmt: skip

RETRY_AFTER_MAX_S = 300.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
_WORDS = 500
_DROPPED = re.compile(r"dropped=([0-9]{1,9})")
_LATER = frozenset({408, 425, 429, 499})


class Outcome(StrEnum):
    """What became of a request, and so what to do."""

    STORED = "stored"
    """204: every line is durable."""
    REFUSED = "refused"
    """400, 422: something about the lines; look for the culprit, send the rest."""
    TOO_LARGE = "too_large"
    """413: send less at once."""
    LATER = "later"
    """408, 429, 5xx, no answer: the same bytes again, after a while."""
    HELD = "held"
    """401, 403, 404 and the like: token, bucket, organisation or address; a person must act."""
    STRANGE = "strange"
    """An answer that InfluxDB does not give: a proxy or a login page; nothing is known to be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An outcome with its words. `wait_s`: what Retry-After asks for; `dropped`: how many points were, if it says."""

    outcome: Outcome
    words: str
    status: int | None = None
    wait_s: float | None = None
    dropped: int | None = None


def read_answer(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> Answer:
    """Return what an answer means; `now_s` (seconds since 1970) turns a Retry-After date into a wait."""
    message = spoken(body)
    words = f"{status} {message or _plain(body)}".rstrip()[:_WORDS]
    outcome = _outcome(status, message)
    dropped = _DROPPED.search(message or "")
    given = {name.lower(): value for name, value in headers.items()}.get("retry-after")
    return Answer(
        outcome=outcome,
        words=words,
        status=status,
        wait_s=None if given is None else retry_after(given, now_s),
        dropped=None if dropped is None else int(dropped[1]),
    )


def _outcome(status: int, message: str | None) -> Outcome:
    if status == 204:
        return Outcome.STORED
    if status in {400, 422}:  # without InfluxDB's words it may be a proxy's: no reason to condemn a line
        return Outcome.STRANGE if message is None else Outcome.REFUSED
    if status == 413:
        return Outcome.TOO_LARGE
    if status >= 500 or status in _LATER:
        return Outcome.LATER
    return Outcome.HELD if status >= 400 else Outcome.STRANGE


def retry_after(text: str, now_s: float) -> float | None:
    """Return the seconds that a Retry-After header asks for: at least 0, at most 300; None if it is unreadable."""
    text = text.strip()[:64]
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, OverflowError, TypeError):
            return None
    return None if math.isnan(wait) else min(max(wait, 0.0), RETRY_AFTER_MAX_S)


def system_words(error: BaseException) -> str:
    """Return the system's words for what failed on the way, without its numbers.

    >>> system_words(ConnectionRefusedError(111, "Connection refused"))
    'connection refused'
    """
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number).lower()
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words[:1].lower() + words[1:]


def tls_words(error: BaseException) -> str:
    """Return what is wrong with TLS: the reason that a nested error gives."""
    nested = getattr(error, "os_error", error)
    reason = getattr(nested, "reason", None)
    return str(reason).replace("_", " ").lower() if isinstance(reason, str) else system_words(nested)


def backoff(attempt: int, chance: float) -> float:
    """Return the wait (s) before retry `attempt` = 0, 1, …: jitter under 0.5 s doubling to 30 s; `chance` in [0, 1)."""
    return chance * min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempt, 16))


def spoken(body: bytes) -> str | None:
    """Return the message of InfluxDB's error document; None if the body is not one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    message = document.get("message", document.get("error"))
    return _plain(message.encode(errors="replace")) if isinstance(message, str) else None


def _plain(body: bytes) -> str:
    """Return the beginning of a body as one printable line."""
    said = body[: 4 * _WORDS].decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in said).split())[:_WORDS]
