"""What is passed on: the buckets of hours and days that have changed, each as a query would give it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.history import Bucket, Query
from gateway.history.rolled import rolled_since
from gateway.history.rolling import catch_up
from tests.history.support import DAY, START, Centre
from tests.history.test_rolled_equals_made import CHANNELS, readings

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")


def take(centre: Centre, after: int, kept: dict[tuple[object, ...], Bucket]) -> int:
    while (some := rolled_since(centre.ledger, centre.settings, ZONE, after, limit=3)) is not None:
        for size, buckets in (("1h", some.hours), ("1d", some.days)):
            kept.update({(size, b["device"], b["channel"], b["time"]): b for b in buckets})
        assert some.after > after
        after = some.after
    return after


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(readings(), min_size=1, max_size=12), min_size=1, max_size=5))
def test_whoever_follows_ends_up_with_what_a_query_gives(batches: list[list[object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        centre = Centre(Path(folder))
        kept: dict[tuple[object, ...], Bucket] = {}
        after = 0
        for batch in batches:
            centre.put(batch)  # type: ignore[arg-type]
            catch_up(centre.ledger, START + 10 * DAY)
            after = take(centre, after, kept)
        for device, channel, _ in CHANNELS:
            for size in ("1h", "1d"):
                asked = centre.buckets(Query(device=device, channel=channel, zone=ZONE), size)
                mine = sorted(
                    (b for k, b in kept.items() if k[:3] == (size, device, channel)), key=lambda b: str(b["time"])
                )
                assert mine == asked
        assert rolled_since(centre.ledger, centre.settings, ZONE, after) is None
        centre.close()
