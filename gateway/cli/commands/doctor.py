"""`metergate doctor`: what is wrong with this site, and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.console import JsonFlag, write, write_json
from gateway.cli.options import ConfigOption

Only = Annotated[list[str] | None, typer.Argument(help="Only these checks; default all.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor", epilog="Example: metergate doctor --json")(doctor)


def doctor(only: Only = None, config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Look at broker, ledger, disk, clock, certificates, secrets, InfluxDB and the running gateway. Changes nothing.

    Exit 0: no problem (there may be warnings). 1: a problem, each with what to do about it.
    """
    from gateway.app import settings_of
    from gateway.doctor import Grade, Site, all_checks, examine
    from gateway.errors import WrongUse
    from gateway.runtime.clock import now_ns

    known = all_checks()
    for name in only or ():
        if name not in known:
            raise WrongUse(f"there is no check {name}", remedy=f"there are {', '.join(known)}")
    found = examine(Site(settings=settings_of(config), config=config, at=now_ns()), only or ())
    is_sound = not any(f.grade is Grade.PROBLEM for _, f in found)
    if json:
        listed = [{"check": n, "grade": f.grade.value, "what": f.what, "remedy": f.remedy or None} for n, f in found]
        write_json({"sound": is_sound, "findings": listed})
    else:
        width = max((len(name) for name, _ in found), default=0)
        for name, f in found:
            write(f"{f.grade.value:8} {name:{width}}  {f.what}" + (f"; {f.remedy}" if f.remedy else ""))
    if not is_sound:
        raise typer.Exit(1)
