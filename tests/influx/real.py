"""A bucket of its own on a real InfluxDB 2, where METERGATE_TEST_INFLUX_URL, _TOKEN and _ORG name one."""

from __future__ import annotations

import csv
import io
import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from gateway.metrology.instants import parse_rfc3339
from gateway.settings import Influx
from tests.influx.support import Row

NAMES = ("URL", "TOKEN", "ORG")


@dataclass(frozen=True)
class Bucket:
    """One bucket of a real server; all calls with the operator's token."""

    url: str
    token: str
    org: str
    name: str

    def call(self, method: str, path: str, document: object = None, **headers: str) -> bytes:
        """Return the body of an answer; a refusal raises."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode() if document else None
        known = {"Authorization": f"Token {self.token}", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(f"{self.url}{path}", body, known, method=method)  # noqa: S310  from the environment
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found: bytes = answer.read()
            return found

    def settings(self, **more: object) -> Influx:
        given = {"url": self.url, "org": self.org, "bucket": self.name, "token": SecretStr(self.token)} | more
        return Influx.model_validate(given)

    def query(self, flux: str) -> list[dict[str, str]]:
        """Return the rows of a Flux query."""
        path = f"/api/v2/query?{urllib.parse.urlencode({'org': self.org})}"
        headers = {"Content-Type": "application/vnd.flux", "Accept": "application/csv"}
        text = self.call("POST", path, flux.encode(), **headers).decode()
        rows = []
        for table in text.replace("\r\n", "\n").split("\n\n"):
            rows += list(csv.DictReader(io.StringIO(table.strip())))
        return rows

    def points(self, measurement: str, *fields: str) -> list[dict[str, str]]:
        """Return all points of a measurement with some fields as columns."""
        chosen = " or ".join(f'r._field == "{f}"' for f in fields)
        return self.query(
            f'from(bucket: "{self.name}") |> range(start: 1970-01-01T00:00:00Z, stop: 2100-01-01T00:00:00Z) '
            f'|> filter(fn: (r) => r._measurement == "{measurement}" and ({chosen})) '
            '|> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")'
        )

    def readings(self) -> list[Row]:
        """Return what it holds, as `support.in_ledger` does."""
        return sorted(
            (r["device"], r["channel"], parse_rfc3339(r["_time"]) - int(float(r["shift_ns"])), float(r["value"]))
            for r in self.points("reading", "value", "shift_ns")
        )


@contextmanager
def bucket(retention_s: int = 0) -> Iterator[Bucket]:
    """Make a bucket, and take it away at the end; skips where no server is named."""
    given = [os.environ.get(f"METERGATE_TEST_INFLUX_{n}") for n in NAMES]
    if not all(given):
        pytest.skip("no real InfluxDB: set METERGATE_TEST_INFLUX_URL, _TOKEN and _ORG")
    url, token, org = (str(g) for g in given)
    made = Bucket(url.rstrip("/"), token, org, f"test-{uuid4().hex[:12]}")
    orgs: Any = json.loads(made.call("GET", f"/api/v2/orgs?{urllib.parse.urlencode({'org': org})}"))
    rules = [{"type": "expire", "everySeconds": retention_s}] if retention_s else []
    wanted = {"orgID": orgs["orgs"][0]["id"], "name": made.name, "retentionRules": rules}
    number = json.loads(made.call("POST", "/api/v2/buckets", wanted))["id"]
    try:
        yield made
    finally:
        made.call("DELETE", f"/api/v2/buckets/{number}")
