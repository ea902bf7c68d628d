"""The way of one parcel of lines to InfluxDB, as a value: what to send next, and what an answer means for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.history.influx_wire import Answer, Outcome

__all__ = ["LINES", "Delivery"]

LINES = 5000
"""So many lines are sent at once at most."""

_CUT = frozenset({Outcome.REFUSED, Outcome.TOO_LARGE})


@dataclass(slots=True, kw_only=True)
class Delivery:
    """Lines [0, size) on their way. What is refused is cut in half until the culprits stand alone.

    Halves are sent again whole: InfluxDB may have stored some of their lines, and storing them again changes nothing.
    k culprits among n lines cost at most 2 k ceil(log2 n) + 1 requests.
    """

    size: int
    pieces: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    attempt: int = 0

    def __post_init__(self) -> None:
        starts = range(0, self.size, LINES)
        self.pieces = [(a, min(a + LINES, self.size)) for a in starts][::-1]

    @property
    def piece(self) -> tuple[int, int] | None:
        """Lines [a, b) to send now; None: all is delivered or refused."""
        return self.pieces[-1] if self.pieces else None

    def take(self, answer: Answer) -> bool:
        """Take the answer to the piece; return whether to go on at once (else: the same piece again, after a wait)."""
        a, b = self.pieces[-1]
        if answer.outcome is Outcome.STORED:
            self.pieces.pop()
        elif answer.outcome in _CUT:
            self.pieces.pop()
            if b - a == 1 or (answer.outcome is Outcome.REFUSED and answer.dropped == b - a):
                self.refused += [(i, answer.words) for i in range(a, b)]
            else:
                middle = (a + b) // 2
                self.pieces += [(middle, b), (a, middle)]
        else:
            self.attempt += 1
            return False
        self.attempt = 0
        return True
