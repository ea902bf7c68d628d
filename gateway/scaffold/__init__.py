"""What `metergate init` makes: the files of a centre, with secrets of its own and no default password anywhere.

The files are those of this repository (shipped with the wheel), fitted to the site; passwords, keys and certificates
are generated. Nothing that is there is overwritten.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from gateway.errors import Refused, WrongUse
from gateway.scaffold.broker_user import give_to_broker
from gateway.scaffold.passwords import password_line
from gateway.scaffold.tls import Authority, new_authority, read_authority, server_certificate

__all__ = ["Centre", "Made", "lay_out", "renew_certificate"]

CA_KEY, CA, SERVER_KEY, SERVER = (
    "secrets/ca.key", "config/mosquitto/certs/ca.crt", "config/mosquitto/certs/server.key",
    "config/mosquitto/certs/server.crt",
)  # fmt: skip
PASSWORDS, BROKER_PASSWORD, GRAFANA_PASSWORD = "config/mosquitto/passwords", "secrets/broker", "secrets/grafana"
GATEWAY_USER = "metergate"
CONTAINER_USER = 10001
FOLDERS = ("var/metergate", "var/mosquitto", "var/influxdb", "var/grafana", "secrets/influx",
    "config/profiles", "config/rulepacks", "config/devices",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Centre:
    """What is asked for. `hosts`: names and addresses instruments reach the broker by; `at`: now, ns.

    `devices` get a password each. `in_containers`: docker compose runs broker and gateway; else they run here.
    """

    folder: Path
    site: str
    timezone: str
    hosts: tuple[str, ...]
    devices: tuple[str, ...]
    at: int
    in_containers: bool = True
    only_secrets: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What was made: files relative to the folder, and the password of each device, which is kept nowhere in clear.

    `remarks`: what is to be known, or done, before the broker can start.
    """

    files: tuple[str, ...]
    passwords: dict[str, str]
    remarks: tuple[str, ...] = ()


def lay_out(centre: Centre) -> Made:
    """Write the files of a centre. Raises Refused, naming them, if any is there already; then nothing is written."""
    passwords = {name: secrets.token_urlsafe(24) for name in (GATEWAY_USER, *centre.devices)}
    wanted = _secret_files(centre, passwords)
    if not centre.only_secrets:
        wanted |= _plain_files(centre)
    there = sorted(name for name in wanted if (centre.folder / name).exists())
    if there:
        raise Refused(
            f"{centre.folder} has {', '.join(there[:3])}{' and more' if len(there) > 3 else ''} already",
            remedy="name a new folder, or give --only-secrets to a checkout; nothing is overwritten",
        )
    for name in FOLDERS:
        (centre.folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    (centre.folder / "secrets").chmod(0o700)
    for name, (text, mode) in sorted(wanted.items()):
        _write(centre.folder / name, text, mode)
    remarks: tuple[str, ...] = ()
    if os.geteuid() == 0:
        given = [*FOLDERS, *wanted]
        remarks = _give_to_containers(centre, given) if centre.in_containers else give_to_broker(centre.folder, given)
    return Made(files=tuple(sorted(wanted)), passwords={d: passwords[d] for d in centre.devices}, remarks=remarks)


def renew_certificate(folder: Path, hosts: tuple[str, ...], at: int) -> None:
    """Put a new certificate of the broker in the place of the old, signed by the centre's own CA."""
    try:
        authority = read_authority((folder / CA).read_bytes(), (folder / CA_KEY).read_bytes())
    except (OSError, ValueError) as error:
        raise WrongUse(f"{folder} has no CA that can be read: {error}", remedy="name the folder `init` made") from None
    key, certificate = server_certificate(authority, hosts, at)
    for name, text in ((SERVER_KEY, key), (SERVER, certificate)):
        place = folder / name
        was = place.stat()
        beside = place.with_name(place.name + ".new")
        beside.unlink(missing_ok=True)
        _write(beside, text, was.st_mode & 0o777)
        if os.geteuid() == 0:
            os.chown(beside, was.st_uid, was.st_gid)
        beside.replace(place)


def _secret_files(centre: Centre, passwords: dict[str, str]) -> dict[str, tuple[bytes, int]]:
    authority: Authority = new_authority(centre.site, centre.at)
    key, certificate = server_certificate(authority, centre.hosts, centre.at)
    user, group = _owner()
    lines = "".join(password_line(user_name, text) + "\n" for user_name, text in passwords.items())
    env = (
        f"METERGATE_UID={user}\nMETERGATE_GID={group}\n"
        "# 0.0.0.0 lets instruments in from the network, by TLS only\nBROKER_BIND=127.0.0.1\n"
    )
    return {
        PASSWORDS: (lines.encode(), 0o600),
        BROKER_PASSWORD: (passwords[GATEWAY_USER].encode(), 0o600),
        GRAFANA_PASSWORD: (secrets.token_urlsafe(24).encode(), 0o600),
        CA_KEY: (authority.key_pem, 0o600),
        CA: (authority.certificate_pem, 0o644),
        SERVER_KEY: (key, 0o600),
        SERVER: (certificate, 0o644),
        ".env": (env.encode(), 0o644),
    }


def _plain_files(centre: Centre) -> dict[str, tuple[bytes, int]]:
    own = files("gateway.scaffold").joinpath("files")
    shipped = _shipped()
    broker = shipped.joinpath("mosquitto", "mosquitto.conf").read_text("utf-8")
    if not centre.in_containers:
        folder = centre.folder.resolve()
        broker = broker.replace("listener 1883\n", "listener 1883 127.0.0.1\n")
        broker = broker.replace("/mosquitto/config/", f"{folder}/config/mosquitto/")
        broker = broker.replace("/mosquitto/data/", f"{folder}/var/mosquitto/")
    acl = shipped.joinpath("mosquitto", "acl").read_text("utf-8").replace("reading/+/%u", f"reading/{centre.site}/%u")
    fit = {"{SITE}": centre.site, "{TIMEZONE}": centre.timezone}
    found = {
        "config/gateway.yaml": (_fitted(own, "gateway.yaml", fit), 0o644),
        "config/devices/README.md": (shipped.joinpath("devices", "README.md").read_bytes(), 0o644),
        "config/devices/example.yaml.txt": (_fitted(own, "devices.yaml", fit), 0o644),
        "config/mosquitto/mosquitto.conf": (broker.encode(), 0o644),
        "config/mosquitto/acl": (acl.encode(), 0o600),
        "README.md": (_fitted(own, "README.md", fit), 0o644),
    }
    if centre.in_containers:
        compose = _compose().read_text("utf-8").replace("    build: .\n", "")
        found["docker-compose.yml"] = (compose.encode(), 0o644)
        grafana = shipped.joinpath("grafana")
        found |= {f"config/grafana/{name}": (text, 0o644) for name, text in _walk(grafana, "")}
    return found


def _walk(folder: Traversable, under: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for entry in folder.iterdir():
        name = f"{under}{entry.name}"
        found += _walk(entry, f"{name}/") if entry.is_dir() else [(name, entry.read_bytes())]
    return found


def _fitted(folder: Traversable, name: str, words: dict[str, str]) -> bytes:
    text = folder.joinpath(name).read_text("utf-8")
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text.encode()


def _shipped() -> Traversable:
    """Return the folder with `mosquitto`, `grafana` and `devices`: in the wheel, else the repository's `config`."""
    wheel = files("gateway").joinpath("shipped")
    return wheel if wheel.joinpath("mosquitto").is_dir() else Path(__file__).resolve().parents[2] / "config"


def _compose() -> Traversable:
    wheel = files("gateway").joinpath("shipped", "docker-compose.yml")
    return wheel if wheel.is_file() else Path(__file__).resolve().parents[2] / "docker-compose.yml"


def _write(path: Path, text: bytes, mode: int) -> None:
    """Write a new file that is never readable by more than `mode` lets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def _owner() -> tuple[int, int]:
    """Return who the containers run as: whoever calls, and never root."""
    return (os.getuid(), os.getgid()) if os.geteuid() else (CONTAINER_USER, CONTAINER_USER)


def _give_to_containers(centre: Centre, names: list[str]) -> tuple[str, ...]:
    for name in ["secrets", "config/mosquitto/certs", *names]:
        os.chown(centre.folder / name, CONTAINER_USER, CONTAINER_USER)
    return ()
