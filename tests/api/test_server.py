"""The small server answers what is asked, bounds what it takes, and never fails a start."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.api import Response
from gateway.api import server as served
from gateway.api.server import listening

PATIENCE_S = 10.0


async def respond(method: str, path: str) -> Response:
    return Response(status=200, body=f'"{method} {path}"'.encode())


async def say(port: int, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Return status line, headers and body of what the server says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(), PATIENCE_S)).partition(b"\r\n\r\n")
    writer.close()
    status, *lines = head.decode().split("\r\n")
    return status, dict(line.split(": ", 1) for line in lines), body


async def asked(request: bytes) -> tuple[str, dict[str, str], bytes]:
    async with listening("127.0.0.1", 0, respond) as address:
        assert address is not None
        return await say(address[1], request)


def test_a_get_is_answered_without_its_query() -> None:
    status, headers, body = asyncio.run(asked(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert status == "HTTP/1.1 200 OK"
    assert body == b'"GET /metrics"'
    assert headers["Content-Length"] == str(len(body))
    assert headers["Connection"] == "close"


def test_a_head_has_the_length_and_no_body() -> None:
    status, headers, body = asyncio.run(asked(b"HEAD /x HTTP/1.1\r\n\r\n"))
    assert (status, headers["Content-Length"], body) == ("HTTP/1.1 200 OK", "9", b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"\xff\xfe \xff HTTP/9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_a_small_get_is_refused_with_a_problem(request_: bytes, status: int) -> None:
    line, headers, body = asyncio.run(asked(request_))
    assert line.split()[1] == str(status)
    assert headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["status"] == status


def test_a_slow_client_is_cut_off_and_does_not_hold_up_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "DEADLINE_S", 0.2)

    async def scene() -> tuple[str, bytes]:
        async with listening("127.0.0.1", 0, respond) as address:
            assert address is not None
            reader, writer = await asyncio.open_connection("127.0.0.1", address[1])
            writer.write(b"GET /slow")
            status, _, _ = await say(address[1], b"GET /fast HTTP/1.0\r\n\r\n")
            try:
                rest = await asyncio.wait_for(reader.read(), PATIENCE_S)
            except ConnectionResetError:
                rest = b""
            writer.close()
            return status, rest

    assert asyncio.run(scene()) == ("HTTP/1.1 200 OK", b"")


def test_more_connections_than_are_borne_are_closed_and_the_stop_waits_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served, "CONNECTIONS", 2)

    async def scene() -> bytes:
        async with listening("127.0.0.1", 0, respond) as address:
            assert address is not None
            held = [await asyncio.open_connection("127.0.0.1", address[1]) for _ in range(2)]
            reader, writer = await asyncio.open_connection("127.0.0.1", address[1])
            closed = await asyncio.wait_for(reader.read(), PATIENCE_S)
            writer.close()
        for _, waiting in held:
            waiting.close()
        return closed

    assert asyncio.run(asyncio.wait_for(scene(), 4)) == b""


def test_a_taken_port_is_a_warning_and_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> object:
        async with listening("127.0.0.1", 0, respond) as first:
            assert first is not None
            async with listening("127.0.0.1", first[1], respond) as second:
                return second

    assert asyncio.run(scene()) is None
    assert [r.levelname for r in caplog.records if "api.listen" in r.getMessage()] == ["WARNING"]
