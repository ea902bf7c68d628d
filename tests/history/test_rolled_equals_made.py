"""An answer from roll-ups is the answer from readings, and both are what the contract says, whatever came when."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.history import Query
from gateway.history.rolling import advance, catch_up
from gateway.metrology.instants import format_instant
from gateway.metrology.readings import Reading
from gateway.pipeline.judge import verdict_dtype
from tests.history.support import DAY, HOUR, MINUTE, START, ZONES, Centre, bucket_of, expected

CHANNELS = (("scale", "mass", "kg"), ("meter", "active_energy", "kWh"), ("meter", "voltage", "V"))


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    device, channel, unit = draw(st.sampled_from(CHANNELS))
    moment = draw(st.integers(0, 3 * 24 * 12)) * 5 * MINUTE + draw(st.sampled_from((0, 0, 0, 1, MINUTE - 1)))
    numbered = draw(st.booleans())
    mass = channel == "mass"
    register = draw(st.sampled_from((1.0, 1.0, 1.0, 1.0, 0.0, 0.5, 1.5, 1e3))) * (999_000 + moment // MINUTE) % 1e6
    return Reading(
        device=device, channel=channel, unit=unit, time=START + moment,
        value=round(draw(st.floats(4.98, 5.02)) if mass else register, 4),
        reference=draw(st.sampled_from((None, 5.0, 0.0))) if mass else None,
        reference_u=0.0001 if mass else None, stable=draw(st.sampled_from((None, None, True, False))),
        seq=moment // MINUTE if numbered else None, boot=draw(st.sampled_from(("a", "b"))) if numbered else None,
    )  # fmt: skip


steps = st.lists(
    st.one_of(
        st.lists(readings(), min_size=1, max_size=25),
        st.sampled_from(("advance", "part", "strict", "lenient")),
    ),
    min_size=1,
    max_size=8,
)
moments = st.one_of(st.none(), st.integers(-2 * HOUR // MINUTE, 3 * DAY // MINUTE).map(lambda m: START + m * MINUTE))


def queries(start: int | None, end: int | None) -> list[tuple[Query, str]]:
    found = []
    for device, channel, _ in CHANNELS:
        for zone in ZONES:
            query = Query(device=device, channel=channel, start=start, end=end, zone=ZoneInfo(zone))
            found += [(query, resolution) for resolution in (("1m", "1h", "1d") if zone == "UTC" else ("1d",))]
    return found


def live(centre: Centre, steps: Sequence[object]) -> None:
    for step in steps:
        if step == "advance":
            catch_up(centre.ledger, START + 10 * DAY)
        elif step == "part":
            advance(centre.ledger, START + DAY)
        elif isinstance(step, str):
            centre.regrade({"strict": "II", "lenient": "IIII"}[step])
        elif isinstance(step, list):
            centre.put(step)


def margins(centre: Centre) -> dict[tuple[object, ...], float]:
    """Return the margin of every check by the newest verdict, read one by one."""
    connection = centre.ledger.connection
    newest = "(SELECT {} FROM amendment WHERE reading = r.id ORDER BY version DESC LIMIT 1)"
    rows = connection.execute(
        f"SELECT time, boot, seq, value, reference, COALESCE({newest.format('verdict')}, verdict) FROM reading r"
    )
    found: dict[tuple[object, ...], float] = {}
    for time, boot, seq, value, reference, verdict in rows:
        if verdict is not None:
            margin = float(np.frombuffer(verdict, verdict_dtype())["margin_percent"][0])
            key = (format_instant(time), boot, seq, value, reference)
            if margin == margin:  # noqa: PLR0124  NaN: no limit
                found[key] = min(margin, found.get(key, np.inf))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, moments, moments)
def test_rolled_made_and_plain_are_one_answer(steps: list[object], start: int | None, end: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        centre = Centre(Path(folder))
        live(centre, steps)
        worst = margins(centre)
        for query, resolution in queries(start, end):
            rolled = centre.buckets(query, resolution)
            assert rolled == centre.buckets(query, resolution, rollups=False), (query, resolution)
            rows = list(centre.history().raw(Query(device=query.device, channel=query.channel)))
            every = 10 * MINUTE if query.channel == "mass" else None
            plain = expected(rows, worst if query.channel == "mass" else {}, query, resolution, every)
            for got, want in zip(rolled, plain, strict=True):
                assert got == {**want, "mean": got["mean"]}, (query, resolution)
                assert got["mean"] == (None if want["mean"] is None else pytest.approx(want["mean"], rel=1e-12))
        centre.close()


def told_apart(some: Sequence[Reading]) -> list[Reading]:
    """Return the readings without sequence conflicts: of those the first to arrive is kept, so order matters."""
    first: dict[tuple[object, ...], Reading] = {}
    return [r for r in some if r.seq is None or first.setdefault((r.device, r.channel, r.boot, r.seq), r) == r]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_bucket(steps: list[object], random: object) -> None:
    once = told_apart([r for step in steps if isinstance(step, list) for r in step])
    shuffled = list(once)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    answers = []
    for some in (once, shuffled):
        with tempfile.TemporaryDirectory() as folder:
            centre = Centre(Path(folder))
            for i in range(0, len(some), 7):
                centre.put(some[i : i + 7])
                advance(centre.ledger, START + 10 * DAY)
            found = [centre.buckets(q, r) for q, r in queries(None, None)]
            answers.append([[{**b, "quality": None} for b in buckets] for buckets in found])
            centre.close()
    assert answers[0] == answers[1]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Santiago", "Africa/Cairo", "Asia/Kolkata", "Pacific/Apia"])
def test_days_of_any_zone_hold_every_hour_once(zone: str, tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    given = [
        Reading(device="meter", channel="voltage", unit="V", time=START + i * 30 * MINUTE, value=float(i))
        for i in range(48 * 400)
    ]
    for i in range(0, len(given), 2000):
        centre.put(given[i : i + 2000])
    catch_up(centre.ledger, START + 500 * DAY)
    query = Query(device="meter", channel="voltage", zone=ZoneInfo(zone))
    days = centre.buckets(query, "1d")
    wanted = Counter(bucket_of(r.time, "1d", ZoneInfo(zone))[0] for r in given)
    assert [(d["time"], d["n"]) for d in days] == [(format_instant(t), n) for t, n in sorted(wanted.items())]
    assert days == centre.buckets(query, "1d", rollups=False)
    centre.close()


def test_a_superseding_verdict_reaches_buckets_already_rolled_up(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    centre.put([check(0, 5.004), check(MINUTE, 4.999), check(2 * HOUR, 5.001)])
    catch_up(centre.ledger, START + DAY)
    query = Query(device="scale", channel="mass", zone=ZoneInfo("UTC"))
    before = [b["worst_margin_percent"] for b in centre.buckets(query, "1h")]
    centre.regrade("IIII")
    after = [b["worst_margin_percent"] for b in centre.buckets(query, "1h")]
    assert len(after) == 2
    assert after != before
    assert centre.buckets(query, "1h") == centre.buckets(query, "1h", rollups=False)
    catch_up(centre.ledger, START + DAY)
    assert [b["worst_margin_percent"] for b in centre.buckets(query, "1h")] == after
    centre.close()


def check(moment: int, value: float) -> Reading:
    return Reading(
        device="scale", channel="mass", unit="kg", time=START + moment, value=value, reference=5.0, reference_u=0.0001
    )
