"""`metergate init`: what it writes is sound, secret, and a broker really runs with it."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import publish, subscribe
from paho.mqtt.client import MQTTMessage

from gateway.scaffold.passwords import password_line
from tests.cli.support import Site
from tests.conftest import free_port


def modes(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_mode & 0o777 for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_passes_the_check_and_nothing_secret_is_readable_by_others(site: Site) -> None:
    made = site.do("init", "centre", "--site", "hung-yen", "--device", "scale-07", "--json").document()
    centre = site.folder / "centre"
    found = modes(centre)
    assert set(found) == set(made["files"])
    secret = {"config/mosquitto/passwords", "config/mosquitto/certs/server.key"} | {
        n for n in found if n.startswith("secrets/")
    }
    assert {"secrets/broker", "secrets/grafana", "secrets/ca.key"} < secret
    assert {found[n] for n in secret} == {0o600}
    assert "hung-yen" in site.do("config", "show", "--config", "centre/config/gateway.yaml").out
    site.do("config", "check", "--config", "centre/config/gateway.yaml")
    everything = "".join(p.read_text() for p in centre.rglob("*") if p.is_file())
    assert made["passwords"]["scale-07"] not in everything
    assert "{SITE}" not in everything


def test_two_centres_share_no_secret(site: Site) -> None:
    site.do("init", "a")
    site.do("init", "b")
    for name in ("secrets/broker", "secrets/grafana", "secrets/ca.key", "config/mosquitto/certs/server.key"):
        assert (site.folder / "a" / name).read_bytes() != (site.folder / "b" / name).read_bytes()


def test_nothing_is_overwritten_and_then_nothing_is_written(site: Site) -> None:
    site.write("centre/docker-compose.yml", "mine")
    assert "docker-compose.yml" in site.do("init", "centre", code=1).err
    assert modes(site.folder / "centre").keys() == {"docker-compose.yml"}
    site.do("init", "centre", "--only-secrets")
    assert (site.folder / "centre/docker-compose.yml").read_text() == "mine"


@pytest.mark.parametrize(
    "wrong", [["--site", "Hung Yen"], ["--timezone", "Mars/Base"], ["--device", "A B"], ["--host", "a b"]]
)
def test_a_wrong_word_is_wrong_use_and_nothing_is_written(site: Site, wrong: list[str]) -> None:
    assert wrong[0] in site.do("init", "centre", *wrong, code=2).err
    assert not (site.folder / "centre").exists()


def test_the_certificate_holds_the_names_and_can_be_renewed(site: Site) -> None:
    from cryptography import x509

    site.do("init", "centre", "--host", "192.168.1.10", "--host", "broker.local")
    file = site.folder / "centre/config/mosquitto/certs/server.crt"
    before = x509.load_pem_x509_certificate(file.read_bytes())
    names = before.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"broker.local", "localhost", "mosquitto"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "192.168.1.10"} <= {str(a) for a in names.get_values_for_type(x509.IPAddress)}
    site.do("init", "centre", "--renew-certificate")
    after = x509.load_pem_x509_certificate(file.read_bytes())
    assert after.serial_number != before.serial_number
    authority = x509.load_pem_x509_certificate((file.parent / "ca.crt").read_bytes())
    after.verify_directly_issued_by(authority)
    assert modes(file.parent)["server.key"] == 0o600


@pytest.fixture
def centre(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, int, int, dict[str, str]]]:
    """Yield a centre whose broker runs: folder, plain port, TLS port, passwords."""
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    arguments = ["--without-docker", "--device", "scale-07", "--device", "scale-08", "--json"]
    passwords = dict(site.do("init", "centre", *arguments).document()["passwords"])
    folder = site.folder / "centre"
    passwords["metergate"] = (folder / "secrets/broker").read_text()
    plain, tls = free_port(), free_port()
    file = folder / "config/mosquitto/mosquitto.conf"
    text = (
        file.read_text()
        .replace("listener 1883 ", f"listener {plain} ")
        .replace("listener 8883", f"listener {tls} 127.0.0.1")
    )
    file.write_text(
        f"user root\n{text}\nlog_dest stderr\n" if (folder.stat().st_uid == 0) else f"{text}\nlog_dest stderr\n"
    )
    with subprocess.Popen(
        [binary, "-c", str(file)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as broker:
        assert broker.stderr is not None
        said = []
        for line in broker.stderr:
            said.append(line)
            if " running" in line:
                break
        assert " running" in said[-1], said
        yield folder, plain, tls, passwords
        broker.kill()
        broker.stderr.read()


def to(folder: Path, port: int, user: str, password: str, *, tls: bool) -> dict[str, Any]:
    secure = {"ca_certs": str(folder / "config/mosquitto/certs/ca.crt")} if tls else None
    return {"hostname": "localhost" if tls else "127.0.0.1", "port": port, "tls": secure,
            "auth": {"username": user, "password": password}}  # fmt: skip


@pytest.mark.live
def test_a_device_writes_its_own_readings_alone_and_the_gateway_reads_them(
    centre: tuple[Path, int, int, dict[str, str]],
) -> None:
    folder, plain, port, passwords = centre
    device = to(folder, port, "scale-07", passwords["scale-07"], tls=True)
    own = "metergate/reading/van-giang/scale-07/mass"
    for topic in (own.replace("07", "08"), own.replace("van-giang", "other"), "metergate/status/van-giang", own):
        publish.single(topic, topic, qos=1, retain=True, **device)
    gateway = to(folder, plain, "metergate", passwords["metergate"], tls=False)
    publish.single("metergate/status/x", "last", retain=True, **gateway)
    got = subscribe.simple(["metergate/reading/#", "metergate/status/#"], msg_count=2, **gateway)  # type: ignore[no-untyped-call]
    assert isinstance(got, list)
    assert {m.topic for m in got if isinstance(m, MQTTMessage)} == {own, "metergate/status/x"}


@pytest.mark.live
def test_a_wrong_password_no_name_and_an_unknown_ca_are_refused(
    centre: tuple[Path, int, int, dict[str, str]],
) -> None:
    from paho.mqtt import MQTTException

    folder, plain, port, passwords = centre
    with pytest.raises(MQTTException, match=r"(?i)not authori"):
        publish.single("metergate/status/x", "", **to(folder, port, "scale-07", passwords["scale-08"], tls=True))
    with pytest.raises(MQTTException, match=r"(?i)not authori"):
        publish.single("metergate/status/x", "", hostname="127.0.0.1", port=plain)
    with socket.create_connection(("127.0.0.1", port), 5) as raw, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")


@pytest.mark.live
def test_a_device_cannot_take_the_session_of_the_gateway(centre: tuple[Path, int, int, dict[str, str]]) -> None:
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    folder, plain, port, passwords = centre
    gateway = to(folder, plain, "metergate", passwords["metergate"], tls=False)
    keeper = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="metergate-van-giang", clean_session=False)
    keeper.username_pw_set("metergate", passwords["metergate"])
    subscribed: list[int] = []
    keeper.on_subscribe = lambda _c, _u, mid, _r, _p: (subscribed.append(mid), keeper.disconnect())  # type: ignore[assignment,func-returns-value]
    keeper.on_connect = lambda c, *_: c.subscribe("metergate/reading/#", 1)
    keeper.connect("127.0.0.1", plain)
    keeper.loop_forever()
    assert subscribed
    thief = to(folder, port, "scale-08", passwords["scale-08"], tls=True)
    publish.single("metergate/reading/van-giang/scale-08/mass", "1", qos=1, client_id="metergate-van-giang", **thief)
    got = subscribe.simple(  # type: ignore[no-untyped-call]
        "metergate/reading/#", qos=1, client_id="metergate-van-giang", clean_session=False, **gateway
    )
    assert isinstance(got, MQTTMessage)
    assert got.payload == b"1"


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """Yield a folder that every user can enter, as /srv is; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.live
@pytest.mark.skipif(os.geteuid() != 0, reason="only root's broker becomes another user")
def test_a_broker_that_root_starts_as_told_can_read_and_write_its_files(site: Site, public_folder: Path) -> None:
    binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        pytest.skip("mosquitto is not installed")
    folder = public_folder / "centre"
    done = site.do("init", str(folder), "--without-docker", "--device", "scale-07")
    assert "mosquitto -c config/mosquitto/mosquitto.conf" in done.err
    assert "cannot enter" not in done.err
    plain, tls = free_port(), free_port()
    file = folder / "config/mosquitto/mosquitto.conf"
    ports = file.read_text().replace("listener 1883 ", f"listener {plain} ").replace("listener 8883", f"listener {tls}")
    file.write_text(f"{ports}\nlog_dest stderr\n")
    with subprocess.Popen(
        [binary, "-c", "config/mosquitto/mosquitto.conf"],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as broker:
        assert broker.stderr is not None
        running = any(" running" in line for line in broker.stderr)
        assert running
        password = (folder / "secrets/broker").read_text()
        publish.single("metergate/status/x", "on", retain=True, **to(folder, plain, "metergate", password, tls=False))
        broker.terminate()
        broker.stderr.read()
    assert (folder / "var/mosquitto/mosquitto.db").stat().st_size > 0
    assert modes(folder)["config/mosquitto/passwords"] == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's broker becomes another user")
def test_root_is_told_when_the_broker_could_not_enter_the_folder(site: Site, public_folder: Path) -> None:
    shut = public_folder / "shut"
    shut.mkdir(mode=0o700)
    assert f"cannot enter {shut}" in site.do("init", str(shut / "centre"), "--without-docker").err
    assert "cannot enter" not in site.do("init", str(shut / "docker")).err


def test_the_password_line_is_the_one_of_mosquitto(tmp_path: Path) -> None:
    import base64
    import hashlib

    user, _, rest = password_line("scale-07", "pässword").partition(":")
    _, form, rounds, salt, key = rest.split("$")
    assert (user, form) == ("scale-07", "7")
    again = hashlib.pbkdf2_hmac("sha512", "pässword".encode(), base64.b64decode(salt), int(rounds), 64)
    assert base64.b64decode(key) == again
