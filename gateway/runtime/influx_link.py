"""Carries requests to InfluxDB 2 on the async client of influxdb-client: bytes out, an answer back.

Only its transport is used. Its WriteApi hides the status of odd answers and its Point is slow and rounds times
(docs/decisions/0011-forwarder.md). Redirects are not followed: whatever answers with one is not InfluxDB.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from gateway.errors import WrongUse
from gateway.history.influx_wire import Answer, Outcome, read_answer, system_words, tls_words
from gateway.metrology.instants import format_instant
from gateway.runtime.clock import now_ns
from gateway.settings import Influx

__all__ = ["InfluxLink", "Reply", "load_client"]

CONNECT_S = 5.0
ANSWER_S = 60.0
ANSWER_BYTES = 65_536
CLIENT = "influxdb_client.client.influxdb_client_async"

Reply = tuple[int, Mapping[str, str], bytes]
"""Status, headers, the beginning of the body."""


def load_client() -> None:
    """Import the client: a third of a second that the loop should not spend."""
    try:
        importlib.import_module(CLIENT)
    except ImportError as error:
        raise WrongUse(
            f"InfluxDB is configured and its client cannot be loaded: {error}",
            remedy="install `influxdb-client[async]`, or take the influx section out",
        ) from error


class InfluxLink:
    """A connection of one bucket. `token` is asked before each request, so that a new one works without a restart."""

    def __init__(self, influx: Influx, token: Callable[[], str | None], answer_s: float = ANSWER_S) -> None:
        self._influx = influx
        self._token = token
        self._answer_s = answer_s
        self._client: Any = None

    async def __aenter__(self) -> Self:
        import aiohttp

        client = importlib.import_module(CLIENT).InfluxDBClientAsync
        timeout = aiohttp.ClientTimeout(total=self._answer_s, sock_connect=CONNECT_S)
        ca_file = None if self._influx.ca_file is None else str(self._influx.ca_file)
        try:
            self._client = client(
                self._influx.url.rstrip("/"), org=self._influx.org, timeout=timeout, allow_redirects=False,
                ssl_ca_cert=ca_file, connection_pool_maxsize=2,
            )  # fmt: skip
        except OSError as error:
            raise WrongUse(f"influx.ca_file: cannot read {ca_file}: {error}", remedy="correct the path") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    async def write(self, body: bytes) -> Answer:
        """Post lines of line protocol, compressed if the settings say so; every failure is an answer."""
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if self._influx.compressed:
            headers["Content-Encoding"] = "gzip"
        query = {"org": self._influx.org, "bucket": self._influx.bucket, "precision": "ns"}
        try:
            reply = await self.request("POST", "/api/v2/write", query, headers, body)
        except WrongUse as error:
            return Answer(outcome=Outcome.HELD, words=str(error))
        except ConnectionError as error:
            return Answer(outcome=Outcome.LATER, words=str(error))
        return read_answer(*reply, now_s=now_ns() / 1e9)

    async def delete(self, predicate: str, first: int, last: int) -> Answer:
        """Delete the points of a predicate from `first` to `last` (ns), both included; every failure is an answer."""
        query = {"org": self._influx.org, "bucket": self._influx.bucket}
        span = {"start": format_instant(first), "stop": format_instant(last), "predicate": predicate}
        try:
            reply = await self.request("POST", "/api/v2/delete", query, {"Content-Type": "application/json"}, span)
        except WrongUse as error:
            return Answer(outcome=Outcome.HELD, words=str(error))
        except ConnectionError as error:
            return Answer(outcome=Outcome.LATER, words=str(error))
        return read_answer(*reply, now_s=now_ns() / 1e9)

    async def request(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any = None
    ) -> Reply:
        """Return the reply to one request. Raises ConnectionError if there is none, WrongUse without a token file."""
        import aiohttp

        token = self._token()
        sent = {**headers, **({} if token is None else {"Authorization": f"Token {token}"})}
        try:
            reply = await self._client.api_client.call_api(
                path, method, query_params=dict(query), header_params=sent, body=body, _preload_content=False
            )
            return reply.status, reply.headers, await _beginning(reply)
        except aiohttp.ClientConnectorCertificateError as error:
            raise WrongUse(
                f"{self._influx.url} has a certificate that is not trusted: {error.certificate_error}",
                remedy="set influx.ca_file",
            ) from error
        except aiohttp.ClientConnectorSSLError as error:
            raise ConnectionError(
                f"no TLS with {self._influx.url}: {tls_words(error)}; does it speak http://?"
            ) from error
        except TimeoutError:
            raise ConnectionError(f"no answer from {self._influx.url} within {self._answer_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionError(f"no answer from {self._influx.url}: {_why(error)}") from error


def _why(error: Exception) -> str:
    """Return the system's words for a connection that failed, else the client's."""
    return system_words(getattr(error, "os_error", error))


async def _beginning(reply: Any) -> bytes:
    """Return at most `ANSWER_BYTES` of a body; the connection of a longer one is closed."""
    body = b""
    while len(body) < ANSWER_BYTES:
        more = await reply.content.read(ANSWER_BYTES - len(body))
        if not more:
            reply.release()
            return body
        body += more
    reply.close()
    return body
