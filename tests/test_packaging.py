"""What is handed out: the wheel, the container image's recipe, and the composition of broker and gateway."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from paho.mqtt import publish, subscribe
from paho.mqtt.client import MQTTMessage

from tests.conftest import Mosquitto

ROOT = Path(__file__).resolve().parents[1]
WAIT_S = 20


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the names in a wheel built from this tree."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (file,) = folder.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        return set(opened.namelist())


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """Return the services of the compose file."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


@pytest.mark.parametrize("kind", ["rulepacks", "profiles"])
def test_the_wheel_carries_every_shipped_pack_and_profile(wheel: set[str], kind: str) -> None:
    files = {f.name for f in (ROOT / "config" / kind).glob("*.yaml")}
    assert files
    assert {f"gateway/shipped/{kind}/{name}" for name in files} <= wheel


def test_the_wheel_carries_the_schema_and_every_module(wheel: set[str]) -> None:
    kept = [
        f.relative_to(ROOT).as_posix()
        for package in ("gateway", "collectors")
        for f in (ROOT / package).rglob("*")
        if f.suffix in {".py", ".sql", ".typed"}
    ]
    assert any(name.endswith(".sql") for name in kept)
    assert set(kept) <= wheel


def test_the_wheel_carries_no_tests_and_no_configuration_of_a_site(wheel: set[str]) -> None:
    assert {name.split("/")[0].partition("-")[0] for name in wheel} == {"gateway", "collectors", "metergate"}


@pytest.mark.parametrize("name", ["mosquitto", "gateway", "influx-setup", "influxdb", "grafana"])
def test_a_container_has_no_privilege_it_does_not_need(services: dict[str, dict[str, Any]], name: str) -> None:
    service = services[name]
    user, _, group = service["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "network_mode", "cap_add", "pid", "devices"} & set(service)


def test_everything_is_published_on_loopback_alone_and_influxdb_not_at_all(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service.get("ports", []) for name, service in services.items()}
    assert published["mosquitto"] == ["127.0.0.1:1883:1883", "127.0.0.1:8883:8883"]
    assert not published["influxdb"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_images_are_pinned_to_a_version(services: dict[str, dict[str, Any]]) -> None:
    foreign = {s["image"] for s in services.values()} - {"metergate"}
    assert len(foreign) == 3
    assert all(re.fullmatch(r"[a-z/-]+:\d+\.\d+\.\d+", image) for image in foreign)


def test_docker_compose_takes_the_file() -> None:
    tool = shutil.which("docker-compose")
    if tool is None:
        pytest.skip("docker-compose is not installed")
    done = subprocess.run([tool, "config", "-q"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_no_password_is_shipped(services: dict[str, dict[str, Any]]) -> None:
    environment = services["gateway"]["environment"]
    assert not [name for name in environment if name.endswith(("PASSWORD", "TOKEN"))]
    tracked = subprocess.run(
        ["git", "ls-files", "secrets", "config/mosquitto"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert set(tracked.stdout.split()) <= {"config/mosquitto/mosquitto.conf", "config/mosquitto/acl"}


def test_the_environment_of_the_gateway_is_read(services: dict[str, dict[str, Any]]) -> None:
    from gateway.settings import load, unread_variables

    environment = services["gateway"]["environment"]
    settings = load(ROOT / "config" / "gateway.yaml", environment)
    assert unread_variables(environment) == []
    assert (settings.broker.host, settings.broker.username) == ("mosquitto", "metergate")
    assert str(settings.data_dir) in {v.partition(":")[2] for v in services["gateway"]["volumes"]}


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    sources = re.findall(r"^COPY (?!<<)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in sources for name in line.split()]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert names
    assert all((ROOT / name).exists() for name in names)
    assert set(names) <= allowed


def _shipped_broker(mosquitto: Mosquitto, users: list[str]) -> None:
    """Start the broker with the shipped rules of who may do what, every user's password being `secret`."""
    config = (ROOT / "config/mosquitto/mosquitto.conf").read_text().splitlines()
    away = (
        "listener",
        "allow_anonymous",
        "persistence",
        "max_queued_messages",
        "password_file",
        "acl_file",
        "log_dest",
        "certfile",
        "keyfile",
        "tls_version",
        "use_username_as_clientid",
    )
    kept = [line for line in config if not line.startswith(away)]
    mosquitto.stop()
    passwords = mosquitto.password(users[0], "secret")
    for user in users[1:]:
        subprocess.run(
            ["mosquitto_passwd", "-b", str(mosquitto.folder / "passwords"), user, "secret"],
            check=True,
            capture_output=True,
        )
    acl = mosquitto.folder / "acl"
    acl.write_text((ROOT / "config/mosquitto/acl").read_text())
    acl.chmod(0o600)
    mosquitto.configure(*kept, passwords, f"acl_file {acl}", anonymous=False)
    mosquitto.start()


@pytest.mark.live
def test_an_instrument_writes_its_own_readings_and_nothing_else(mosquitto: Mosquitto) -> None:
    _shipped_broker(mosquitto, ["metergate", "scale-07"])
    device: Any = {"username": "scale-07", "password": "secret"}
    own = "metergate/reading/van-giang/scale-07/mass"
    for topic in ("metergate/reading/van-giang/scale-08/mass", "metergate/status/van-giang", own):
        publish.single(topic, topic, qos=1, retain=True, hostname="127.0.0.1", port=mosquitto.port, auth=device)
    gateway: Any = {"username": "metergate", "password": "secret"}
    publish.single("metergate/status/x", "last", retain=True, hostname="127.0.0.1", port=mosquitto.port, auth=gateway)
    got = subscribe.simple(  # type: ignore[no-untyped-call]
        ["metergate/reading/#", "metergate/status/#"],
        msg_count=2,
        hostname="127.0.0.1",
        port=mosquitto.port,
        auth=gateway,
    )
    assert isinstance(got, list)
    assert all(isinstance(message, MQTTMessage) for message in got)
    assert {message.topic for message in got} == {own, "metergate/status/x"}


@pytest.mark.live
@pytest.mark.parametrize(("said", "healthy"), [("online", True), ("offline", False)])
def test_a_gateway_is_healthy_when_it_says_it_is_online(
    mosquitto: Mosquitto, tmp_path: Path, said: str, healthy: bool
) -> None:
    script = re.search(r"COPY <<'PY' \S+\n(.*?)\nPY\n", (ROOT / "Dockerfile").read_text(), re.DOTALL)
    assert script is not None
    publish.single("metergate/status/here", said, retain=True, hostname="127.0.0.1", port=mosquitto.port)
    done = subprocess.run(
        [sys.executable, "-c", script[1]],
        cwd=tmp_path,
        env={"METERGATE_SITE": "here", "METERGATE_BROKER__URL": f"mqtt://127.0.0.1:{mosquitto.port}"},
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (done.returncode == 0) is healthy, done.stderr.decode()
