"""An InfluxDB 2 of our own on a loopback port that obeys its real rules for writes, and misbehaves when told to.

Rules (InfluxDB 2.7): a malformed line refuses the whole body (400); the first type of a field is its type for ever, and
points against it or beyond retention are dropped while the rest is stored (422); same series and time merge fields.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from gateway.metrology.instants import parse_rfc3339
from tests.influx.lines import FieldValue, Malformed, Point, parse

Key = tuple[str, tuple[tuple[str, str], ...], int]


@dataclass(frozen=True)
class Canned:
    """An answer given without looking at the body. `store`: store it all the same; `cut`: end the connection."""

    status: int = 503
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    store: bool = False
    cut: bool = False
    after_s: float = 0.0


@dataclass
class StandIn:
    """What it knows and how it is to behave; change the attributes while it runs."""

    token: str = "write-token"  # noqa: S105  of this stand-in only
    org: str = "metergate"
    bucket: str = "metergate"
    retention_ns: int | None = None
    now_ns: int = 0
    max_bytes: int = 50_000_000
    strict: bool = True
    canned: deque[Canned] = field(default_factory=deque)
    always: Canned | None = None
    points: dict[Key, dict[str, FieldValue]] = field(default_factory=dict)
    types: dict[tuple[str, str], type] = field(default_factory=dict)
    requests: int = 0
    lines: int = 0
    statuses: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    keep_bodies: bool = False
    written: int = 0
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and end every connection; `__aenter__` starts it again on the same port."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    def measurement(self, name: str) -> dict[Key, dict[str, FieldValue]]:
        """The points of one measurement."""
        return {k: v for k, v in self.points.items() if k[0] == name}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.split("\r\n")
        method, target, _ = first.split(" ")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in rest if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.requests += 1
        if self.keep_bodies:
            self.bodies.append(body)
        canned = self.canned.popleft() if self.canned else self.always
        if canned is not None:
            await asyncio.sleep(canned.after_s)
            if canned.store:
                self._write(headers, body)
            if canned.cut:
                return False
            answer = canned.status, canned.headers, canned.body
        else:
            answer = self._answer(method, target, headers, body)
        self.statuses.append(answer[0])
        writer.write(_rendered(*answer))
        await writer.drain()
        return True

    def _answer(  # noqa: PLR0911  one line per rule
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        url = urlsplit(target)
        if url.path == "/health":
            return 200, {}, b'{"status":"pass","version":"stand-in"}'
        if method != "POST" or url.path not in {"/api/v2/write", "/api/v2/delete"}:
            return _error(404, "not found", "path not found")
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        if headers.get("authorization") != f"Token {self.token}":
            return _error(401, "unauthorized", "unauthorized access")
        if query.get("org") != self.org:
            return _error(404, "not found", f'organization name "{query.get("org")}" not found')
        if query.get("bucket") != self.bucket:
            return _error(404, "not found", f'bucket "{query.get("bucket")}" not found')
        if url.path == "/api/v2/delete":
            asked = json.loads(body)
            self.delete(asked["predicate"], parse_rfc3339(asked["start"]), parse_rfc3339(asked["stop"]))
            return 204, {}, b""
        if query.get("precision") != "ns":
            return _error(400, "invalid", "this stand-in wants nanoseconds")
        return self._write(headers, body)

    def _write(self, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        if headers.get("content-encoding") == "gzip":
            try:
                body = gzip.decompress(body)
            except (OSError, EOFError):
                return _error(400, "invalid", "gzipped HTTP body contains an invalid header")
        if len(body) > self.max_bytes:
            return _error(413, "request too large", "unable to read data: points batch is too large")
        self.lines += body.count(b"\n") + 1
        if not self.strict:
            return 204, {}, b""
        try:
            points = parse(body)
        except (Malformed, UnicodeDecodeError) as error:
            return _error(400, "invalid", str(error))
        reasons = [r for p in points if (r := self.store(p)) is not None]
        if reasons:
            said = f"failure writing points to database: partial write: {reasons[0]} dropped={len(reasons)}"
            return _error(422, "unprocessable entity", said)
        return 204, {}, b""

    def delete(self, predicate: str, first: int, last: int) -> None:
        """Delete the points of a predicate from `first` to `last` (ns), both included."""
        wanted = dict(part.split("=", 1) for part in predicate.replace('"', "").split(" AND "))
        for measurement, tags, at in list(self.points):
            said = {"_measurement": measurement, **dict(tags)}
            if first <= at <= last and wanted.items() <= said.items():
                del self.points[measurement, tags, at]

    def store(self, point: Point) -> str | None:
        """Store a point; return why it is dropped."""
        time = self.now_ns if point.time is None else point.time
        if self.retention_ns is not None and time < self.now_ns - self.retention_ns:
            return "points beyond retention policy"
        for name, value in point.fields:
            known = self.types.setdefault((point.measurement, name), type(value))
            if known is not type(value):
                return (
                    f'field type conflict: input field "{name}" on measurement "{point.measurement}" is type '
                    f"{type(value).__name__}, already exists as type {known.__name__}"
                )
        self.written += 1
        self.points.setdefault((point.measurement, point.tags, time), {}).update(point.fields)
        return None

    @contextlib.contextmanager
    def in_thread(self) -> Iterator[Self]:
        """Run in a thread with a loop of its own, for tests that drive processes."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), loop).result(5)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.stop(), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(5)
            loop.close()


def _error(status: int, code: str, message: str) -> tuple[int, Mapping[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps({"code": code, "message": message}).encode()


def _rendered(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{k}: {v}" for k, v in headers.items())]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if status == 204 else body)
