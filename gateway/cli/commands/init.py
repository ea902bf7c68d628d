"""`metergate init`: the files of a new centre."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.console import JsonFlag, note, write, write_json

Host = Annotated[list[str] | None, typer.Option("--host", help="Name or address of this machine for instruments.")]
Device = Annotated[list[str] | None, typer.Option("--device", help="A device that gets a password at the broker.")]
Site = Annotated[str, typer.Option("--site", help="Id of the centre, the level of its MQTT topics.")]
Timezone = Annotated[str, typer.Option("--timezone", help="Dates without time begin at midnight here.")]
WithoutDocker = Annotated[
    bool, typer.Option("--without-docker", help="Broker and gateway run on this machine, not in containers.")
]
OnlySecrets = Annotated[
    bool, typer.Option("--only-secrets", help="Only secrets and certificates, for a folder with its configuration.")
]
Renew = Annotated[bool, typer.Option("--renew-certificate", help="Only a new certificate for the broker.")]

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?|::1")
_ALWAYS = ("localhost", "mosquitto", "127.0.0.1")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", epilog="Example: metergate init centre --site van-giang --host 192.168.1.10")(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the centre; made if missing.")],
    site: Site = "van-giang",
    timezone: Timezone = "Asia/Ho_Chi_Minh",
    host: Host = None,
    device: Device = None,
    without_docker: WithoutDocker = False,
    only_secrets: OnlySecrets = False,
    renew: Renew = False,
    json: JsonFlag = False,
) -> None:
    """Write configuration, broker rules, TLS certificate, passwords and compose file; overwrite nothing.

    Every secret is generated, in a file with mode 0600; passwords of devices are shown once. Exit 1: a file is there.
    """
    import socket

    from gateway.runtime.clock import now_ns
    from gateway.scaffold import Centre, lay_out, renew_certificate

    hosts = _hosts([*(host or ()), socket.gethostname()])
    if renew:
        renew_certificate(folder, hosts, now_ns())
        write(f"the broker of {folder} has a new certificate; restart the broker")
        return
    _check(site, timezone, device or [])
    centre = Centre(
        folder=folder, site=site, timezone=timezone, hosts=hosts, devices=tuple(dict.fromkeys(device or ())),
        at=now_ns(), in_containers=not without_docker, only_secrets=only_secrets,
    )  # fmt: skip
    made = lay_out(centre)
    for remark in made.remarks:
        note(remark)
    if json:
        write_json({"folder": str(folder), "files": made.files, "passwords": made.passwords})
        return
    for name in made.files:
        write(str(folder / name))
    for name, password in made.passwords.items():
        write(f"password of {name}: {password}")
    if made.passwords:
        note("these passwords are kept nowhere in clear: give them to the devices now")
    start = (
        "mosquitto -c config/mosquitto/mosquitto.conf, then metergate run" if without_docker else "docker compose up -d"
    )
    note(f"next: cd {folder}, put devices into config/devices, then {start}")


def _hosts(named: list[str]) -> tuple[str, ...]:
    from gateway.errors import WrongUse

    wrong = [h for h in named[:-1] if not _HOST.fullmatch(h)]
    if wrong:
        raise WrongUse(
            f"--host: {wrong[0][:80]!r} is no name or address", remedy="such as centre.local or 192.168.1.10"
        )
    return tuple(dict.fromkeys([h for h in named if _HOST.fullmatch(h)] + list(_ALWAYS)))


def _check(site: str, timezone: str, devices: list[str]) -> None:
    from pydantic import ValidationError

    from gateway.errors import WrongUse
    from gateway.registry.fields import ID
    from gateway.settings import Settings

    try:
        Settings.model_validate({"site": site, "timezone": timezone})
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongUse(
            f"--{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}", remedy="correct it"
        ) from None
    wrong = [d for d in devices if not ID.fullmatch(d)]
    if wrong or "metergate" in devices:
        raise WrongUse(
            f"--device: {(wrong or ['metergate'])[0][:80]!r} is no id of a device", remedy="such as scale-07"
        )
