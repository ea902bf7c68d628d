"""What a running gateway says over HTTP: whether it is alive, whether it is ready, and its numbers.

`respond` functions take a request and return a `Response`; they know no socket, so that they can be served by another
server than the small one of `gateway.api.server`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["JSON", "PROBLEM", "Respond", "Response", "problem"]

JSON = "application/json"
PROBLEM = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What is answered."""

    status: int
    body: bytes
    content_type: str = JSON


Respond = Callable[[str, str], Awaitable[Response]]
"""(method, path without its query) -> response; never raises."""


def problem(status: int, title: str, detail: str = "", **more: object) -> Response:
    """Return problem details (RFC 9457)."""
    import orjson

    document = {"type": "about:blank", "title": title, "status": status, **({"detail": detail} if detail else {})}
    return Response(status=status, body=orjson.dumps(document | more), content_type=PROBLEM)
