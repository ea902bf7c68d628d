"""The publisher against a real mosquitto: alarms in order, states as the newest, nothing lost over an outage."""

from __future__ import annotations

import asyncio

import aiomqtt
import pytest

from collectors.mqtt import Phase
from collectors.simulator.broker import demo_broker
from gateway.runtime.publisher import Publisher, PublisherSettings
from tests.conftest import Mosquitto
from tests.mqtt_bench import collect, source, texts, until

pytestmark = pytest.mark.live

ALARM = "metergate/alarm/site/a1"
STATE = "metergate/state/site/d1"


def publisher(port: int) -> Publisher:
    return Publisher(PublisherSettings(host="127.0.0.1", port=port, client_id="gateway-publisher"))


def test_every_alarm_event_goes_out_in_order(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with source(mosquitto.port, "metergate/alarm/#") as watch, publisher(mosquitto.port) as out:
            await watch.wait_ready()
            for n in range(50):
                out.publish(ALARM, str(n).encode(), True, {"specversion": "1.0"})
            assert texts(await collect(watch, 50)) == [str(n) for n in range(50)]

    asyncio.run(run())


def test_of_a_device_state_only_the_newest_goes_out_and_stays_retained(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with source(mosquitto.port, "metergate/state/#") as watch, publisher(mosquitto.port) as out:
            await watch.wait_ready()
            for n in range(1000):
                out.publish(STATE, str(n).encode(), True)
            seen = texts(await collect(watch, 1))
            while seen[-1] != "999":
                seen += texts(await collect(watch, 1))
            assert len(seen) <= 3
        async with source(mosquitto.port, "metergate/state/#", client_id="later") as later:
            (kept,) = await collect(later, 1)
            assert kept.retained
            assert kept.payload == b"999"

    asyncio.run(run())


def test_what_was_published_during_an_outage_goes_out_after_it(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with source(mosquitto.port, "metergate/#") as watch, publisher(mosquitto.port) as out:
            await watch.wait_ready()
            out.publish(ALARM, b"before", True)
            assert texts(await collect(watch, 1)) == ["before"]
            mosquitto.stop()
            await until(watch, Phase.RECONNECTING)
            for n in range(10):
                out.publish(ALARM, f"alarm {n}".encode(), False)
                out.publish(STATE, f"state {n}".encode(), True)
            mosquitto.start()
            await until(watch, Phase.CONNECTED)
            seen = [t for t in texts(await collect(watch, 11)) if t != "before"]
            assert [t for t in seen if t.startswith("alarm")] == [f"alarm {n}" for n in range(10)]
            if "state 9" not in seen:
                assert "state 9" in texts(await collect(watch, 1))

    asyncio.run(run())


def test_alarm_events_carry_their_attributes(mosquitto: Mosquitto) -> None:
    async def run() -> None:
        async with aiomqtt.Client("127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5) as watch:
            await watch.subscribe("metergate/alarm/#", qos=1)
            async with publisher(mosquitto.port) as out:
                out.publish(ALARM, b"{}", True, {"specversion": "1.0", "subject": "mass"})
                async with asyncio.timeout(10):
                    message = await anext(aiter(watch.messages))
        assert message.properties is not None
        assert dict(message.properties.json()["UserProperty"]) == {"specversion": "1.0", "subject": "mass"}  # type: ignore[no-untyped-call]

    asyncio.run(run())


def test_a_broker_without_mqtt_5_gets_3_1_1() -> None:
    async def run() -> None:
        async with demo_broker() as port, publisher(port) as out, aiomqtt.Client("127.0.0.1", port) as watch:
            await watch.subscribe("metergate/alarm/#", qos=1)
            out.publish(ALARM, b"raised", True, {"specversion": "1.0"})
            async with asyncio.timeout(10):
                message = await anext(aiter(watch.messages))
            assert message.payload == b"raised"

    asyncio.run(run())
