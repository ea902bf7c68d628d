"""The gateway as a process: one per data folder, from settings to a clean end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from secrets import token_hex

from collectors.mqtt import EventKind, MqttEvent, MqttSource
from collectors.mqtt_settings import MqttSettings, Protocol, tls_context
from gateway.app import make_router, plan_from, rule_packs, settings_of
from gateway.ledger.store import Ledger, hold
from gateway.runtime.announcer import Announcer
from gateway.runtime.clock import now_ns
from gateway.runtime.clock_watch import ClockWatch
from gateway.runtime.forwarding import forwarding
from gateway.runtime.publisher import Publisher, PublisherSettings
from gateway.runtime.retention import Housekeeping, Keeper, policy_of
from gateway.runtime.rollup import keep_rolling
from gateway.runtime.service import Service
from gateway.runtime.watching import watching
from gateway.runtime.yielding import YieldingAlarm
from gateway.settings import Settings

__all__ = ["run_gateway"]

log = logging.getLogger("metergate")

STOP_S = 4.0
SWITCH_S = 0.001
"""The loop must not wait 5 ms for the interpreter each time the ledger's thread computes."""
LAST_RESORT_S = 4.7


async def run_gateway(config: Path | None) -> None:
    """Run until SIGTERM or SIGINT. Raises Refused if another gateway holds the data folder."""
    stop = asyncio.Event()
    _on_signals(stop)  # first: from here on a signal ends what has begun, and in order
    sys.setswitchinterval(SWITCH_S)
    settings = settings_of(config)
    packs = rule_packs(config, settings)
    router = make_router(config, settings)
    mqtt = _mqtt_settings(settings)
    policy = policy_of(settings)
    with hold(settings.data_dir):

        def open_ledger() -> Ledger:
            return Ledger.open(settings.data_dir)

        async with Publisher(_publisher_settings(mqtt)) as publisher, forwarding(settings, now_ns):
            announcer = Announcer(settings.site, publisher.publish)
            yielding = YieldingAlarm(settings.site, mqtt.client_id, open_ledger, now_ns)
            source = MqttSource(
                mqtt, router.filters, now_ns, on_event=partial(_on_event, announcer, yielding),
                beside=lambda: publisher.connected_since,
            )  # fmt: skip
            service = Service(
                ledger=open_ledger,
                source=source,
                decode=router.decode_batch,
                replan=lambda ledger: plan_from(ledger, settings, packs),
                announce=announcer,
                flush=announcer.flush,
                clock=now_ns,
                lateness_ns=settings.lateness,
                housekeeping=None if policy is None else Housekeeping(keeper=Keeper(policy=policy)),
                beside=[
                    partial(keep_rolling, open_ledger=open_ledger, clock=now_ns),
                    yielding,
                    ClockWatch(settings.site, open_ledger, now_ns, lambda: service.heard),
                ],
            )
            log.info(
                "site %s, ledger %s, broker %s", settings.site, settings.data_dir / "ledger.sqlite", settings.broker.url
            )
            async with watching(settings, service, source):
                await _until_stopped(service, stop)
            t = service.totals
            log.info(
                "stopped: %d readings received, %d stored, %d duplicate, %d quarantined",
                t.received, t.stored, t.duplicate, t.quarantined,
            )  # fmt: skip


async def _until_stopped(service: Service, stop: asyncio.Event) -> None:
    """Run the service; once told to stop it has a few seconds to finish its batch."""
    running = asyncio.create_task(service.run(stop), name="service")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not running.done():
        await asyncio.wait({running}, timeout=STOP_S)
    if not running.done():
        log.warning("the batch in hand is not done in time; it is not acknowledged and will come again")
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        log.info("stopped in the middle of a batch; nothing acknowledged was lost")


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def told_to_stop() -> None:
        stop.set()
        last_resort = threading.Timer(LAST_RESORT_S, _end)
        last_resort.daemon = True
        last_resort.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop)


def _end() -> None:
    """End at once: the ledger's thread is stuck (a dead disk, say). What it holds is not acknowledged, so not lost."""
    logging.shutdown()
    os._exit(0)


def _mqtt_settings(settings: Settings) -> MqttSettings:
    broker = settings.broker
    return MqttSettings(
        host=broker.host,
        port=broker.port,
        client_id=settings.client_id,
        username=broker.username,
        password=broker.secret(),
        tls=broker.tls,
        ca_file=broker.ca_file,
        cert_file=broker.cert_file,
        key_file=broker.key_file,
        protocol=Protocol(broker.protocol),
        keepalive_s=max(1, broker.keepalive // 10**9),
        receive_maximum=broker.receive_maximum,
        status_topic=f"metergate/status/{settings.site}",
    )


def _publisher_settings(mqtt: MqttSettings) -> PublisherSettings:
    return PublisherSettings(
        host=mqtt.host,
        port=mqtt.port,
        client_id=f"{mqtt.client_id}-publisher-{token_hex(3)}",  # nobody can take its place: it keeps no session
        username=mqtt.username,
        password=mqtt.password,
        tls=lambda: tls_context(mqtt),
        version5=mqtt.protocol is not Protocol.V4,
    )


def _on_event(announcer: Announcer, yielding: YieldingAlarm, event: MqttEvent) -> None:
    """Say what the source does not say itself; a broker that knows no session of ours may know no state either."""
    yielding.note(event)
    if event.kind is EventKind.SESSION_LOST:
        log.warning(
            "the broker has forgotten our session: messages it held while we were away are lost; see the gap alarms"
        )
    if event.kind in {EventKind.SESSION_LOST, EventKind.SESSION_NEW}:
        announcer.say_again()
