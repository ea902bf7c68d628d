"""Strict JSON (RFC 8259): numbers keep their text, objects their repeated keys, and depth is bounded before parsing."""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import NoReturn, TypeAlias

from gateway.metrology.readings import Why

__all__ = [
    "MAX_BYTES", "MAX_DEPTH", "Members", "NotFinite", "NumberText", "UnreadableError", "Value", "elements", "finite",
    "first", "kind_of", "parse", "repeated_key", "shorten",
]  # fmt: skip

MAX_BYTES = 256 * 1024
"""The largest payload that is looked into."""

MAX_DEPTH = 8
"""Arrays and objects within each other, the outermost included."""

_SHOWN = 40
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # an unclosed one runs to the end: linear time
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(b for b in range(256) if b not in b"[]{}")
_OPEN = ord("[")
_SPACE = re.compile(r"[ \t\n\r]*")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class UnreadableError(Exception):
    """The bytes are not the JSON we take: the closed reason and the words for it."""

    def __init__(self, why: Why, detail: str) -> None:
        super().__init__(detail)
        self.why = why
        self.detail = detail


class NumberText(str):
    """A JSON number exactly as it was written."""

    __slots__ = ()


class NotFinite(str):
    """`NaN`, `Infinity` or `-Infinity`, which are not JSON; kept so that the field can be named."""

    __slots__ = ()


class Members(tuple[tuple[str, "Value"], ...]):
    """The members of an object in their order, repeated keys included."""

    __slots__ = ()


Value: TypeAlias = "str | bool | list[Value] | Members | None"
"""A parsed JSON value; `NumberText` and `NotFinite` are texts."""

_DECODER = json.JSONDecoder(
    object_pairs_hook=Members, parse_float=NumberText, parse_int=NumberText, parse_constant=NotFinite
)


def parse(payload: bytes, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> Value:
    """Return the one JSON value of a payload; UnreadableError names the reason."""
    text = _text(payload, max_bytes, max_depth)
    start = _space(text, 0)
    value, end = _one(text, start)
    _expect_end(text, end)
    if any(isinstance(v, NotFinite) for v in (value if isinstance(value, list) else [value])):
        raise UnreadableError(Why.NOT_JSON, "NaN and Infinity are no JSON")
    _refuse_lone_surrogates(text, value)
    return value


def elements(
    payload: bytes, *, limit: int, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH
) -> list[tuple[Value, bytes]] | None:
    """Return the elements of a top-level array, each with its own bytes; None when the payload is no array.

    UnreadableError when the payload is not JSON as a whole, is empty (missing_field) or holds more than `limit`
    elements (too_large).
    """
    found = _elements(payload, limit, max_bytes, max_depth)
    if found is not None and not found:
        raise UnreadableError(Why.MISSING_FIELD, "the pack is empty: it holds no reading")
    if found and any(isinstance(value, NotFinite) for value, _ in found):
        raise UnreadableError(Why.NOT_JSON, "the pack holds NaN or Infinity, which are no JSON")
    return found


def _elements(payload: bytes, limit: int, max_bytes: int, max_depth: int) -> list[tuple[Value, bytes]] | None:
    text = _text(payload, max_bytes, max_depth)
    at = _space(text, 0)
    if text[at : at + 1] != "[":
        return None
    found: list[tuple[Value, bytes]] = []
    at = _space(text, at + 1)
    if text[at : at + 1] == "]":
        _expect_end(text, at + 1)
        return found
    while True:
        value, end = _one(text, at)
        if len(found) == limit:
            raise UnreadableError(Why.TOO_LARGE, f"more than {limit} records in one pack")
        found.append((value, text[at:end].encode()))
        at = _space(text, end)
        mark = text[at : at + 1]
        if mark == "]":
            _expect_end(text, at + 1)
            break
        if mark != ",":
            _syntax(text, at, "',' or ']' expected")
        at = _space(text, at + 1)
    _refuse_lone_surrogates(text, [value for value, _ in found])
    return found


def _text(payload: bytes, max_bytes: int, max_depth: int) -> str:
    if len(payload) > max_bytes:
        raise UnreadableError(Why.TOO_LARGE, f"{len(payload)} bytes; at most {max_bytes} are read")
    if payload.startswith(b"\xef\xbb\xbf"):
        raise UnreadableError(Why.NOT_JSON, "starts with a byte order mark; JSON has none")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise UnreadableError(Why.NOT_UTF8, f"byte {error.start} is not UTF-8") from None
    if not text.strip(" \t\n\r"):
        raise UnreadableError(Why.NOT_JSON, "the message is empty")
    if _deeper_than(payload, max_depth):
        raise UnreadableError(Why.TOO_DEEP, f"nested deeper than {max_depth}")
    return text


def _deeper_than(payload: bytes, depth: int) -> bool:
    """Tell whether brackets outside strings nest deeper; exact for JSON, else never too low up to the first error."""
    brackets = _STRING.sub(b"", payload).translate(_BRACKETS, _NOT_BRACKETS)
    left = brackets
    for _ in range(depth):
        left = left.replace(b"[]", b"")
    if not left:
        return False
    return max(accumulate(1 if bracket == _OPEN else -1 for bracket in brackets)) > depth


def _one(text: str, at: int) -> tuple[Value, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        _syntax(text, error.pos, error.msg)


def _syntax(text: str, at: int, message: str) -> NoReturn:
    place = f"byte {len(text[:at].encode())}"
    raise UnreadableError(Why.NOT_JSON, f"{message[:1].lower()}{message[1:]} at {place}")


def _space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _expect_end(text: str, at: int) -> None:
    at = _space(text, at)
    if at != len(text):
        _syntax(text, at, "nothing expected after the JSON value")


def _refuse_lone_surrogates(text: str, value: Value) -> None:
    if _SURROGATE_ESCAPE.search(text) and _has_surrogate(value):
        raise UnreadableError(Why.NOT_UTF8, "a text holds half of a surrogate pair, which is no character")


def _has_surrogate(value: Value) -> bool:
    if isinstance(value, Members):
        return any(_has_surrogate(k) or _has_surrogate(v) for k, v in value)
    if isinstance(value, list):
        return any(map(_has_surrogate, value))
    return isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value)


def repeated_key(value: Value) -> str | None:
    """Return the first key that some object in the value holds twice, else None."""
    if isinstance(value, Members):
        seen: set[str] = set()
        for key, _ in value:
            if key in seen:
                return key
            seen.add(key)
    inner = [v for _, v in value] if isinstance(value, Members) else value if isinstance(value, list) else []
    return next((found for v in inner if (found := repeated_key(v)) is not None), None)


def first(members: Members, key: str) -> Value:
    """Return the value of the first member with this key, None when there is none."""
    return next((v for k, v in members if k == key), None)


def finite(number: str) -> float | None:
    """Return the nearest float of a JSON number's text, None when it lies beyond every float."""
    value = float(number)
    if not math.isfinite(value):
        return None
    return 0.0 if number == "-0" else value


def kind_of(value: Value) -> str:
    """Name a JSON value's kind in words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, NotFinite | NumberText):
        return f"the number {shorten(value)}"
    if isinstance(value, str):
        return f'the text "{shorten(value)}"'
    return "an object" if isinstance(value, Members) else "an array"


def shorten(text: str) -> str:
    """Return a text short and printable enough for a message."""
    shown = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)
