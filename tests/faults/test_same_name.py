"""Two gateways of one name (F26): one leaves its place to the other, and says so."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from collectors.mqtt import EventKind, Fault, MqttEvent, MqttSource, Phase, Trouble
from gateway.alarms.conditions import AlarmKind
from gateway.ledger import alarms as alarm_rows
from gateway.ledger.store import Ledger
from gateway.runtime import yielding
from gateway.runtime.publisher import Publisher, PublisherSettings
from gateway.runtime.yielding import YieldingAlarm
from tests.conftest import Mosquitto
from tests.faults.proxy import Proxy
from tests.mqtt_bench import collect, publish, source, texts, until

KEY = ("", yielding.PART, AlarmKind.SYSTEM)


def count(events: list[MqttEvent], kind: EventKind) -> int:
    return sum(event.kind is kind for event in events)


async def until_happened(mqtt: MqttSource, events: list[MqttEvent], kind: EventKind, times: int = 1) -> None:
    async with asyncio.timeout(10):
        while count(events, kind) < times:
            await mqtt.change()


async def taken_over_by_a_stranger(
    mosquitto: Mosquitto, mqtt: MqttSource, events: list[MqttEvent], flap: int, passive: int = 0
) -> None:
    """Have another client of that name come for the `flap`-th time, and go again once all this has happened."""
    await until(mqtt, Phase.CONNECTED)
    async with source(mosquitto.port) as stranger:
        await stranger.wait_ready()
        await until_happened(mqtt, events, EventKind.DISCONNECTED, flap)
        await until_happened(mqtt, events, EventKind.PASSIVE, passive)


def test_after_three_flaps_one_is_passive_and_the_other_receives(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        first: list[MqttEvent] = []
        second: list[MqttEvent] = []
        async with (
            source(mosquitto.port, events=first, beside=lambda: 0.0) as loser,
            source(mosquitto.port, events=second, beside=lambda: 0.0, flaps_s=0.0) as winner,
        ):
            await until_happened(loser, first, EventKind.PASSIVE)
            await until(winner, Phase.CONNECTED)
            assert await winner.take(1, 1.0) == []  # for ten times what they wait between two tries
            assert count(first, EventKind.PASSIVE) == 1
            assert count(first, EventKind.DISCONNECTED) <= 3
            assert winner.state.phase is Phase.CONNECTED
            assert loser.state.phase is Phase.RECONNECTING
            assert loser.state.trouble is not None
            assert loser.state.trouble.fault is Fault.TAKEN_OVER
            assert "give every gateway its own broker.client_id" in str(loser.state.trouble)
            await publish(mosquitto.port, ["1", "2"])
            assert texts(await collect(winner, 2)) == ["1", "2"]

    asyncio.run(run())


def test_of_two_alike_at_least_one_stays(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        events: list[MqttEvent] = []
        async with (
            source(mosquitto.port, events=events, beside=lambda: 0.0) as one,
            source(mosquitto.port, events=events, beside=lambda: 0.0) as other,
        ):
            async with asyncio.timeout(10):
                while not count(events, EventKind.PASSIVE):
                    await asyncio.wait(
                        [asyncio.ensure_future(one.change()), asyncio.ensure_future(other.change())],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
            left = one if one.state.phase is Phase.CONNECTED else other
            await until(left, Phase.CONNECTED)
            assert await left.take(1, 1.0) == []
            assert left.state.phase is Phase.CONNECTED
            assert count(events, EventKind.PASSIVE) == 1

    asyncio.run(run())


def test_the_place_is_tried_again_and_left_at_once_if_it_is_taken_again(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        mine: list[MqttEvent] = []
        async with source(mosquitto.port, events=mine, beside=lambda: 0.0, yield_s=0.2) as one:
            for flap in range(1, 6):
                await taken_over_by_a_stranger(mosquitto, one, mine, flap, passive=max(0, flap - 2))

    asyncio.run(run())


def test_flaps_long_ago_are_forgotten(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        mine: list[MqttEvent] = []
        async with source(mosquitto.port, events=mine, beside=lambda: 0.0, flaps_s=0.02) as one:
            for flap in range(1, 5):
                await taken_over_by_a_stranger(mosquitto, one, mine, flap)
                await asyncio.sleep(0.03)
        assert count(mine, EventKind.PASSIVE) == 0

    asyncio.run(run())


@pytest.mark.parametrize("stood", ["not at all", "since after it"])
def test_a_broker_that_cuts_everybody_is_connected_to_again_at_once(mosquitto: Mosquitto, stood: str) -> None:
    def beside() -> float | None:
        return None if stood == "not at all" else asyncio.get_running_loop().time()

    async def run() -> None:
        mine: list[MqttEvent] = []
        async with Proxy(mosquitto.port) as proxy, source(proxy.port, events=mine, beside=beside) as one:
            for flap in range(1, 7):
                await until(one, Phase.CONNECTED)
                proxy.cut()
                await until_happened(one, mine, EventKind.DISCONNECTED, flap)
            await until(one, Phase.CONNECTED)
        assert count(mine, EventKind.PASSIVE) == 0

    asyncio.run(run())


def test_a_connection_that_ended_while_we_were_stalled_was_not_taken_over(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        mine: list[MqttEvent] = []
        async with source(mosquitto.port, events=mine, beside=lambda: 0.0) as one:
            await one.wait_ready()
            mosquitto.stop()
            time.sleep(1.5)  # noqa: ASYNC251  the stall
            mosquitto.start()
            await until_happened(one, mine, EventKind.DISCONNECTED)
            assert one.state.trouble is not None
            assert one.state.trouble.fault is Fault.LOST
            await until(one, Phase.CONNECTED)

    asyncio.run(run())


def test_a_publisher_with_nothing_to_say_notices_that_its_broker_is_gone(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with Publisher(PublisherSettings(host="127.0.0.1", port=mosquitto.port, client_id="out")) as out:
            async with asyncio.timeout(10):
                await out.send("somewhere", b"")
                assert out.connected_since is not None
                mosquitto.stop()
                while out.connected_since is not None:  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(0.01)

    asyncio.run(run())


def test_an_alarm_stands_until_the_place_has_been_ours_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yielding, "STEADY_S", 0.3)
    taken = Trouble(fault=Fault.TAKEN_OVER, cause='another client has connected to broker:1883 as "gateway"')

    def stands() -> bool:
        with Ledger.open(tmp_path) as ledger:
            return KEY in alarm_rows.open_alarms(ledger.connection)

    async def becomes(wanted: bool) -> None:
        async with asyncio.timeout(5):
            while stands() is not wanted:  # noqa: ASYNC110  a ledger tells nobody
                await asyncio.sleep(0.02)

    async def run() -> None:
        alarm = YieldingAlarm("site", "gateway", lambda: Ledger.open(tmp_path), lambda: 10**18)

        async def never(_work: object) -> None:
            raise AssertionError("it writes on a connection of its own")

        def tell(kind: EventKind) -> None:
            alarm.note(MqttEvent(at=0, kind=kind, trouble=taken if kind is EventKind.PASSIVE else None))

        work = asyncio.create_task(alarm(never, lambda: 1.0))  # type: ignore[arg-type]
        tell(EventKind.CONNECTED)
        tell(EventKind.DISCONNECTED)
        tell(EventKind.PASSIVE)
        await becomes(True)
        tell(EventKind.CONNECTED)  # and lost again at once: it has not been ours for long
        await asyncio.sleep(0.1)
        tell(EventKind.DISCONNECTED)
        await asyncio.sleep(0.5)
        assert stands()
        tell(EventKind.CONNECTED)
        await becomes(False)
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        with Ledger.open(tmp_path) as ledger:
            found = [document for _, _, document in alarm_rows.events(ledger.connection, 0)]
        assert ["raised" in found[0], "cleared" in found[1], len(found)] == [True, True, 2]
        assert "another client has connected to broker:1883" in found[0]
        assert '"evidence":{"client_id":"gateway"}' in found[0]

    asyncio.run(run())
