"""The centre's readings in a real InfluxDB, put there by the forwarder's feed; a bucket of its own, removed after."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gateway.history.flux import FluxLink
from gateway.history.forward import Feed
from gateway.history.influx import InfluxHistory
from gateway.ledger.store import Ledger
from tests.history.support import START, Centre


@contextmanager
def forwarded(centre: Centre, url: str, token: str, org: str) -> Iterator[InfluxHistory]:
    """Forward everything the centre holds into a new bucket, and yield it as a history store."""
    name = f"test-{uuid.uuid4()}"

    def ask(method: str, path: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310  the server the caller names
            url.rstrip("/") + path, data=body, method=method, headers={"Authorization": f"Token {token}"}
        )
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            said = reply.read()
        return json.loads(said) if said else None

    orgs = ask("GET", f"/api/v2/orgs?org={org}")["orgs"]
    bucket = ask("POST", "/api/v2/buckets", json.dumps({"orgID": orgs[0]["id"], "name": name}).encode())
    try:
        with Ledger.open(centre.ledger.path.parent) as ledger:
            feed = Feed(ledger, "s", name)
            while (parcel := feed.next()) is not None:
                ask("POST", f"/api/v2/write?org={org}&bucket={name}&precision=ns", "\n".join(parcel.lines).encode())
                feed.settle(parcel, [], START)
        yield InfluxHistory(FluxLink(url=url, org=org, token=token), name, centre.settings)
    finally:
        ask("DELETE", f"/api/v2/buckets/{bucket['id']}")
