"""The forwarder against a strict stand-in: every answer handled, nothing lost, nothing doubled (issue 4 §2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.history.rolling import catch_up
from gateway.ledger import alarms
from gateway.ledger.forwarding import refused_points
from gateway.ledger.store import Ledger
from gateway.metrology.readings import Reading
from gateway.runtime.forwarding import Pace
from tests.influx.standin import Canned, StandIn
from tests.influx.support import adjusted, drained, forwarding, in_influx, in_ledger, settings, state, until
from tests.pipeline.centre import DAY, certificate, feed, ingest_in, noisy_life, plan_of, scale, two_scales

INVALID = json.dumps({"code": "invalid", "message": "unable to parse 'x': bad"}).encode()


def a_life(folder: Path, n: int = 60) -> None:
    ingest = ingest_in(folder, two_scales())
    feed(ingest, noisy_life(3, n))
    ingest.ledger.close()


def open_texts(folder: Path) -> list[str]:
    with Ledger.open(folder) as ledger:
        return [a.text for a in alarms.find(ledger.connection) if a.kind == "system"]


def run(scenario: Callable[[StandIn], Awaitable[None]], **given: object) -> StandIn:
    """Run a scenario with a stand-in; return it to be looked at."""

    async def whole() -> StandIn:
        async with StandIn(**given) as standin:  # type: ignore[arg-type]
            await asyncio.wait_for(scenario(standin), 60)
        return standin

    return asyncio.run(whole())


def test_both_hold_the_same_set(tmp_path: Path) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        async with forwarding(tmp_path, settings(standin)):
            assert (await drained(tmp_path)).poison == 0

    standin = run(scenario)
    assert in_influx(standin) == in_ledger(tmp_path) != []
    assert standin.measurement("verdict")
    assert standin.measurement("alarm")
    assert set(standin.statuses) == {204}


def test_bodies_are_compressed_where_told(tmp_path: Path) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        standin.keep_bodies = True
        async with forwarding(tmp_path, settings(standin, gzip="on")):
            await drained(tmp_path)

    standin = run(scenario)
    assert in_influx(standin) == in_ledger(tmp_path)
    assert all(b.startswith(b"\x1f\x8b") for b in standin.bodies)


@pytest.mark.parametrize(
    "trouble",
    [
        [Canned(status=503)] * 4,
        [Canned(status=429, headers={"Retry-After": "0.05"})],
        [Canned(status=500, body=b'{"code":"internal error","message":"cache-max-memory-size exceeded"}')],
        [Canned(cut=True), Canned(cut=True, store=True)],
        [Canned(status=200, body=b"<html>Log in</html>"), Canned(status=204, store=True)],
        [Canned(status=302, headers={"Location": "http://127.0.0.1:1/login"})],
        [Canned(status=400, body=b"<html>Bad Request</html>")],
        [Canned(status=413)],
        [Canned(status=200, body=b"x" * 200_000)],
    ],
)
def test_after_any_trouble_everything_is_there_once(tmp_path: Path, trouble: list[Canned]) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        standin.canned.extend(trouble)
        async with forwarding(tmp_path, settings(standin)):
            assert (await drained(tmp_path)).poison == 0

    standin = run(scenario)
    assert in_influx(standin) == in_ledger(tmp_path)
    assert not standin.canned


def test_a_lost_answer_is_asked_for_again_with_the_same_bytes(tmp_path: Path) -> None:
    a_life(tmp_path, 20)

    async def scenario(standin: StandIn) -> None:
        standin.keep_bodies = True
        standin.canned.append(Canned(cut=True, store=True))
        async with forwarding(tmp_path, settings(standin)):
            await drained(tmp_path)

    standin = run(scenario)
    assert standin.bodies[0] == standin.bodies[1]


@pytest.mark.parametrize(
    ("spoil", "mend", "words"),
    [
        ("token", "write-token", "401 unauthorized access; write a valid token"),
        ("bucket", "metergate", '404 bucket "metergate" not found; correct influx.org and influx.bucket'),
        ("org", "metergate", '404 organization name "metergate" not found'),
    ],
)
def test_held_until_a_person_mends_it_with_one_alarm_and_no_restart(
    tmp_path: Path, spoil: str, mend: str, words: str
) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        influx = settings(standin)
        setattr(standin, spoil, "another")
        async with forwarding(tmp_path, influx):
            await until(lambda: standin.requests >= 4, "probed")
            held = state(tmp_path)
            assert held.held_since is not None
            assert held.lag > 0
            assert not standin.points
            (text,) = open_texts(tmp_path)
            assert words in text
            setattr(standin, spoil, mend)
            await drained(tmp_path)
            await until(lambda: not open_texts(tmp_path), "cleared")

    standin = run(scenario)
    assert in_influx(standin) == in_ledger(tmp_path)
    with Ledger.open(tmp_path) as ledger:
        found = [a for a in alarms.find(ledger.connection, only_open=False) if a.kind == "system"]
    assert len(found) == 1
    after = state(tmp_path)
    assert (after.held_since, after.failing_since, after.last_answer) == (None, None, "204")


def test_a_new_token_in_its_file_works_without_a_restart(tmp_path: Path) -> None:
    a_life(tmp_path, 10)
    file = tmp_path / "token"
    file.write_text("old\n")

    async def scenario(standin: StandIn) -> None:
        async with forwarding(tmp_path, settings(standin, token=None, token_file=str(file))):
            await until(lambda: 401 in standin.statuses, "refused")
            file.unlink()
            await until(lambda: "cannot read" in (state(tmp_path).last_answer or ""), "said so")
            file.write_text("write-token\n")
            await drained(tmp_path)

    assert in_influx(run(scenario)) == in_ledger(tmp_path)


def test_an_outage_that_lasts_is_one_alarm_that_clears_itself(tmp_path: Path) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        influx = settings(standin)
        await standin.stop()
        async with forwarding(tmp_path, influx):
            await until(lambda: bool(open_texts(tmp_path)), "alarm")
            assert f"no answer from {influx.url}: connection refused" in open_texts(tmp_path)[0]
            assert state(tmp_path).failing_since is not None
            async with standin:
                await drained(tmp_path)
                await until(lambda: not open_texts(tmp_path), "cleared")

    standin = run(scenario)
    assert in_influx(standin) == in_ledger(tmp_path)


def test_a_point_against_a_type_is_quarantined_with_the_words_and_the_rest_is_stored(tmp_path: Path) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        standin.types["verdict", "en"] = str
        async with forwarding(tmp_path, settings(standin)):
            await drained(tmp_path)
            await until(lambda: bool(open_texts(tmp_path)), "alarm")

    standin = run(scenario)
    assert in_influx(standin) == in_ledger(tmp_path)
    with Ledger.open(tmp_path) as ledger:
        refused = refused_points(ledger.connection)
        with_en = sum(1 for _ in refused)
    assert {r.measurement for r in refused} == {"verdict"}
    assert all("field type conflict" in r.words and '"en"' in r.words for r in refused)
    with Ledger.open(tmp_path) as ledger:
        verdicts = ledger.connection.execute("SELECT COUNT(verdict) FROM reading").fetchone()[0]
    assert len(standin.measurement("verdict")) == verdicts - with_en
    assert state(tmp_path).poison == with_en > 0
    assert "field type conflict" in open_texts(tmp_path)[0]


def test_points_beyond_retention_are_named_and_the_others_stored(tmp_path: Path) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        standin.now_ns, standin.retention_ns = 60 * DAY, 30 * DAY
        async with forwarding(tmp_path, settings(standin)):
            await drained(tmp_path)

    standin = run(scenario)
    young = [r for r in in_ledger(tmp_path) if r[2] >= 30 * DAY]
    assert in_influx(standin) == young
    with Ledger.open(tmp_path) as ledger:
        assert "retention" in refused_points(ledger.connection)[0].words


def test_a_small_limit_on_bodies_only_costs_more_requests(tmp_path: Path) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        standin.max_bytes = 4000
        async with forwarding(tmp_path, settings(standin)):
            assert (await drained(tmp_path)).poison == 0

    standin = run(scenario)
    assert in_influx(standin) == in_ledger(tmp_path)
    assert 413 in standin.statuses


def test_a_line_that_breaks_the_body_goes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that InfluxDB cannot read is a defect of ours; it must cost one point and not the stream."""
    from gateway.history import forward, points

    a_life(tmp_path, 20)
    honest = points.reading_lines

    def spoilt(*given: object) -> list[str]:
        lines = honest(*given)  # type: ignore[arg-type]
        return [*lines[:5], lines[5].replace("value=", "value=oops"), *lines[6:]]

    monkeypatch.setattr(forward, "reading_lines", spoilt)

    async def scenario(standin: StandIn) -> None:
        async with forwarding(tmp_path, settings(standin)):
            assert (await drained(tmp_path)).poison == 1

    standin = run(scenario)
    assert len(in_influx(standin)) == len(in_ledger(tmp_path)) - 1
    with Ledger.open(tmp_path) as ledger:
        (refused,) = refused_points(ledger.connection)
    assert refused.words.startswith("400 unable to parse 'reading,")


def test_slow_answers_are_waited_for_one_at_a_time(tmp_path: Path) -> None:
    a_life(tmp_path)

    async def scenario(standin: StandIn) -> None:
        standin.keep_bodies = True
        standin.canned.append(Canned(status=204, store=True, after_s=0.4))
        async with forwarding(tmp_path, settings(standin)):
            await until(lambda: standin.requests == 1, "first")
            await asyncio.sleep(0.2)
            assert standin.requests == 1
            await drained(tmp_path)

    assert in_influx(run(scenario)) == in_ledger(tmp_path)


def test_readings_that_come_meanwhile_go_too(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")], [certificate("a")]))

    async def scenario(standin: StandIn) -> None:
        async with forwarding(tmp_path, settings(standin)):
            for batch in range(20):
                rows = [
                    Reading(
                        device="a",
                        channel="mass",
                        time=DAY + batch // 2,
                        value=0.5 + i,
                        unit="kg",
                        seq=batch * 10 + i,
                        boot="b",
                    )
                    for i in range(10)
                ]
                feed(ingest, rows)
                await asyncio.sleep(0.01)
            await drained(tmp_path)

    assert in_influx(run(scenario)) == in_ledger(tmp_path)
    assert len(in_ledger(tmp_path)) == 200


def test_a_ledger_that_cannot_be_written_stops_nothing_but_the_cursor(tmp_path: Path) -> None:
    """Held by another writer for longer than we wait: the parcel is sent again, and is the same."""
    a_life(tmp_path, 10)

    async def scenario(standin: StandIn) -> None:
        async with forwarding(tmp_path, settings(standin)):
            await drained(tmp_path)
        with Ledger.open(tmp_path) as ledger, ledger.transaction() as connection:
            connection.execute(
                "CREATE TRIGGER full BEFORE INSERT ON forward_cursor BEGIN SELECT RAISE(FAIL, 'full'); END"
            )
        ingest = ingest_in(tmp_path, two_scales())
        feed(ingest, [r for r in noisy_life(3, 20) if r.time > 12 * DAY])
        ingest.ledger.close()
        async with forwarding(tmp_path, settings(standin)):
            sent = standin.requests
            await until(lambda: standin.requests > sent + 2, "sent again")
            with Ledger.open(tmp_path) as ledger, ledger.transaction() as connection:
                connection.execute("DROP TRIGGER full")
            await drained(tmp_path)

    assert in_influx(run(scenario)) == in_ledger(tmp_path)


def test_it_ends_at_once_when_told_to(tmp_path: Path) -> None:
    a_life(tmp_path, 10)

    async def scenario(standin: StandIn) -> None:
        standin.always = Canned(status=204, after_s=30.0)
        loop = asyncio.get_running_loop()
        async with forwarding(tmp_path, settings(standin), Pace(start_s=0, poll_s=0.01)):
            await until(lambda: standin.requests == 1, "first")
            before = loop.time()
        assert loop.time() - before < 2.0

    run(scenario)


def test_a_number_that_a_superseding_verdict_lacks_does_not_stay(tmp_path: Path) -> None:
    async def scenario(standin: StandIn) -> None:
        async def send() -> None:
            async with forwarding(tmp_path, settings(standin)):
                await drained(tmp_path)

        loop = asyncio.get_running_loop()

        def first() -> None:
            asyncio.run_coroutine_threadsafe(send(), loop).result(30)

        lost = await asyncio.to_thread(adjusted, tmp_path, after=first)
        before = {k: dict(v) for k, v in standin.measurement("verdict").items()}
        assert sum("z" in v for v in before.values()) == 15
        standin.canned.append(Canned(status=503))
        await send()
        after = standin.measurement("verdict")
        assert after.keys() == before.keys()
        assert sum("z" in v for v in after.values()) == 15 - lost
        assert {v["version"] for k, v in after.items() if "z" in before[k] and "z" not in v} == {1.0}

    run(scenario)


def days_of(standin: StandIn) -> list[int]:
    return sorted(at for _, _, at in standin.measurement("rollup_1d"))


def test_another_time_zone_has_other_days_and_none_of_the_old(tmp_path: Path) -> None:
    ingest = ingest_in(tmp_path, plan_of([scale("a")]))
    rows = [
        Reading(device="a", channel="mass", time=9 * DAY + i * DAY // 5, value=1.0 + i, unit="kg", seq=i, boot="b")
        for i in range(10)
    ]
    feed(ingest, rows)
    catch_up(ingest.ledger, 20 * DAY)
    hour = DAY // 24

    async def scenario(standin: StandIn) -> None:
        async with forwarding(tmp_path, settings(standin), zone="UTC"):
            await drained(tmp_path)
        assert days_of(standin) == [9 * DAY, 10 * DAY]
        async with forwarding(tmp_path, settings(standin), zone="Asia/Tokyo"):
            await until(lambda: len(days_of(standin)) == 3, "other days")
            await drained(tmp_path)
        assert days_of(standin) == [9 * DAY - 9 * hour, 10 * DAY - 9 * hour, 11 * DAY - 9 * hour]
        asked = standin.requests
        async with forwarding(tmp_path, settings(standin), zone="Asia/Tokyo"):
            await drained(tmp_path)
        assert standin.requests == asked

    assert len(run(scenario).measurement("rollup_1h")) == 10
