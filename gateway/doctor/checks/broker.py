"""The broker: can it be reached, does it take our name, does it let anybody in, and has it dropped messages."""

from __future__ import annotations

import queue
import secrets
import ssl
import time
from collections.abc import Iterator
from typing import Any

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from collectors.mqtt_settings import MqttSettings, tls_context
from gateway.doctor import Finding, Site, fine, problem, warning

__all__ = ["check"]

ANSWER_S = 5.0
SYSTEM_S = 1.0
VERSION, DROPPED = "$SYS/broker/version", "$SYS/broker/publish/messages/dropped"
LEAST = (2, 0, 22)


def check(site: Site) -> Iterator[Finding]:
    """Connect as the gateway does, under another client id, and once as nobody."""
    broker = site.settings.broker
    settings = MqttSettings(
        host=broker.host, port=broker.port, username=broker.username, password=broker.secret(), tls=broker.tls,
        ca_file=broker.ca_file, cert_file=broker.cert_file, key_file=broker.key_file,
    )  # fmt: skip
    context = tls_context(settings)
    try:
        refusal, said = _connect(settings, context, settings.username)
    except ssl.SSLCertVerificationError as error:
        yield problem(
            f"the broker's certificate is not trusted: {error.verify_message}",
            "set broker.ca_file to the CA that signed it; when it has expired, make a new one",
        )
        return
    except ssl.SSLError as error:
        yield problem(f"no TLS with {settings.place}: {error.reason or error}", "see whether that port speaks TLS")
        return
    except OSError as error:
        words = error.strerror or str(error) or "no answer"
        yield problem(f"no broker at {settings.place} ({words})", "start it, or correct broker.url")
        return
    if refusal is not None:
        remedy = "correct broker.username and broker.password_file, and the broker's password file"
        yield problem(f"the broker at {settings.place} does not let us in: {refusal}", remedy)
        return
    yield fine(f"the broker at {settings.place} lets us in")
    yield from _version(said.get(VERSION))
    yield from _dropped(said.get(DROPPED))
    if settings.username is not None:
        try:
            anonymous, _ = _connect(settings, context, None)
        except OSError:
            return  # closed in our face: as it should be
        if anonymous is None:
            yield warning(f"the broker at {settings.place} lets in anybody without a name", "allow_anonymous false")


def _version(said: str | None) -> Iterator[Finding]:
    words = (said or "").removeprefix("mosquitto version ").split(".")
    if said is None or len(words) != len(LEAST) or not all(w.isdigit() for w in words):
        return
    if tuple(map(int, words)) < LEAST:
        yield warning(
            f"the broker is {said}, which sends more than it is asked to under load",
            f"mosquitto {'.'.join(map(str, LEAST))} or newer",
        )


def _dropped(said: str | None) -> Iterator[Finding]:
    if said is not None and said.isdigit() and int(said):
        yield warning(
            f"the broker has dropped {said} messages since its start",
            "raise max_queued_messages and max_queued_bytes; the gap alarms name what is missing",
        )


def _connect(
    settings: MqttSettings, context: ssl.SSLContext | None, user: str | None
) -> tuple[str | None, dict[str, str]]:
    """Connect once; return why not, if so, and what the broker says of itself. Raises OSError without a connection."""
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    said: dict[str, str] = {}
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=f"metergate-doctor-{secrets.token_hex(4)}", protocol=mqtt.MQTTv311
    )
    client.connect_timeout = ANSWER_S
    if context is not None:
        client.tls_set_context(context)
    if user is not None:
        client.username_pw_set(user, settings.password)

    def connected(client: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        if not reason.is_failure:
            client.subscribe([(VERSION, 0), (DROPPED, 0)])
        answers.put(str(reason) if reason.is_failure else None)

    def received(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        said[message.topic] = message.payload.decode("utf-8", "replace")[:100]

    client.on_connect, client.on_message = connected, received
    client.connect(settings.host, settings.port, keepalive=10)
    client.loop_start()
    try:
        refusal = answers.get(timeout=ANSWER_S)
        deadline = time.monotonic() + SYSTEM_S
        while refusal is None and user is not None and len(said) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    except queue.Empty:
        raise TimeoutError("it does not answer") from None
    finally:
        client.disconnect()
        client.loop_stop()
    return refusal, said
