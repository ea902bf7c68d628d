"""Ask InfluxDB 2 in Flux: one request, rows as they come. Only the standard library: a query is one POST.

influxdb-client would cost a third of a second of start-up here and parse each cell in Python all the same. Redirects
are not followed: whatever answers with one is not InfluxDB.
"""

from __future__ import annotations

import codecs
import csv
import http.client
import json
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit

from gateway.errors import Refused, WrongUse
from gateway.history.influx_wire import spoken, system_words, tls_words

__all__ = ["FluxLink", "text"]

TIMEOUT_S = 60.0
CHUNK = 65_536
_DIALECT = {"header": True, "delimiter": ",", "annotations": []}
_REMEDY = {
    401: "write a valid token to influx.token_file or influx.query_token_file",
    403: "give the token the right to read the bucket (`metergate influx setup`)",
    404: "correct influx.org and influx.bucket, or use a token that may read the bucket (`metergate influx setup`)",
}
_NO_ORG = "failed to decode request body: organization"
"""How 2.7 begins to say, with 400, that there is no such organisation."""


def text(value: str) -> str:
    """Return a text as a Flux string literal.

    >>> text('a"${b}')
    '"a\\\\"\\\\${b}"'
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


class _Body(Protocol):
    def read(self, amount: int, /) -> bytes:
        """Return the next bytes, none at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxLink:
    """Where to ask. `ca_file` verifies the server in place of the system's CAs."""

    url: str
    org: str
    token: str | None
    ca_file: Path | None = None

    def ask(self, flux: str) -> Iterator[dict[str, str]]:
        """Yield the rows of all tables, each column -> cell. Raises Refused or WrongUse with InfluxDB's words."""
        connection = self._connect()
        try:
            parts = urlsplit(self.url)
            body = json.dumps({"query": flux, "type": "flux", "dialect": _DIALECT}).encode()
            headers = {"Content-Type": "application/json", "Accept": "application/csv"}
            if self.token is not None:
                headers["Authorization"] = f"Token {self.token}"
            connection.request("POST", f"{parts.path.rstrip('/')}/api/v2/query?org={quote(self.org)}", body, headers)
            reply = connection.getresponse()
            kind = reply.headers.get_content_type()
            if reply.status != 200 or kind not in {"text/csv", "application/csv"}:
                raise self._refusal(reply.status, kind, reply.read(CHUNK))
            yield from _tables(_lines(reply))
        except ssl.SSLCertVerificationError as error:
            raise WrongUse(
                f"{self.url} has a certificate that is not trusted: {error.verify_message}", remedy="set influx.ca_file"
            ) from error
        except ssl.SSLError as error:
            raise WrongUse(
                f"no TLS with {self.url}: {tls_words(error)}", remedy="does it speak http://? correct influx.url"
            ) from error
        except TimeoutError:
            raise Refused(
                f"no answer from {self.url} within {TIMEOUT_S:g} s", remedy="is InfluxDB running? ask the ledger"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise Refused(
                f"no answer from {self.url}: {system_words(error)}", remedy="is InfluxDB running? ask the ledger"
            ) from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = parts.hostname or "localhost"
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, parts.port or 80, timeout=TIMEOUT_S)
        context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        return http.client.HTTPSConnection(host, parts.port or 443, timeout=TIMEOUT_S, context=context)

    def _refusal(self, status: int, kind: str, body: bytes) -> Exception:
        said = spoken(body)
        words = f"an answer of {kind} that is not InfluxDB's" if said is None else said
        cause = f"{self.url} answered {status}: {words[:300]}"
        wrong = 404 if status == 400 and words.startswith(_NO_ORG) else status
        if said is not None and wrong in _REMEDY:
            return WrongUse(cause, remedy=_REMEDY[wrong])
        return Refused(
            cause, remedy="is influx.url that of InfluxDB 2?" if status < 500 else "ask the ledger meanwhile"
        )


def _lines(reply: _Body) -> Iterator[str]:
    """Yield the lines of a body, a piece at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    while piece := reply.read(CHUNK):
        *whole, rest = (rest + decoder.decode(piece)).split("\n")
        for line in whole:
            yield line + "\n"
    if rest:
        yield rest


def _tables(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield the rows of Flux's CSV: tables of other columns stand behind a blank line, with a header of their own."""
    names: list[str] | None = None
    for row in csv.reader(lines):
        if not row:
            names = None
        elif names is None:
            names = row
        else:
            found = dict(zip(names, row, strict=False))
            if "error" in found:
                raise Refused(f"InfluxDB could not answer: {found['error'][:300]}", remedy="ask the ledger meanwhile")
            yield found
