"""`metergate influx`: prepare an InfluxDB 2 for this site, and see where forwarding to it stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.console import JsonFlag, note, write, write_json
from gateway.cli.options import ConfigOption

if TYPE_CHECKING:
    from gateway.history.forward_state import ForwardingState
    from gateway.settings import Influx

FOR_EVER = "forever"


def register(app: typer.Typer) -> None:
    """Add the command."""
    group = typer.Typer(no_args_is_help=True, help="Prepare InfluxDB 2, and see where forwarding to it stands.")
    app.add_typer(group, name="influx", epilog="Example: metergate influx status")
    group.command("setup", epilog="Example: metergate influx setup --retention 3650d --out secrets")(setup)
    group.command("status", epilog="Example: metergate influx status --json")(status)
    group.command("resend", epilog="Example: metergate influx resend")(resend)


def _influx(config: Path | None, *, needed: bool) -> Influx:
    from gateway.app import settings_of
    from gateway.errors import WrongUse
    from gateway.settings import Influx

    found = settings_of(config).influx
    if found is None and needed:
        raise WrongUse(
            "InfluxDB is not configured", remedy="add an influx section to the settings, or set METERGATE_INFLUX__URL"
        )
    return found or Influx()


def setup(
    retention: Annotated[
        str, typer.Option("--retention", help="How long points are kept, such as 3650d; or forever.")
    ] = FOR_EVER,
    out: Annotated[Path, typer.Option("--out", help="Folder for the secrets, each a file with mode 0600.")] = Path(
        "secrets"
    ),
    username: Annotated[str, typer.Option("--username", help="The administrator of a fresh server.")] = "admin",
    admin_token_file: Annotated[
        Path | None, typer.Option("--admin-token-file", help="A token that may make buckets, on a server in use.")
    ] = None,
    config: ConfigOption = None,
    json: JsonFlag = False,
) -> None:
    """Make organisation, bucket and two tokens: one that may only write, one that may only query."""
    import asyncio

    from gateway.errors import WrongUse
    from gateway.metrology.instants import format_duration, parse_duration
    from gateway.runtime.influx_setup import set_up

    influx = _influx(config, needed=False)
    try:
        retention_ns = 0 if retention == FOR_EVER else parse_duration(retention)
    except ValueError as error:
        raise WrongUse(f"--retention: {error}", remedy="write it such as 3650d, or forever") from None
    token = None
    if admin_token_file is not None:
        try:
            token = admin_token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUse(f"--admin-token-file: cannot read {admin_token_file}", remedy="correct the path") from error
    done = asyncio.run(set_up(influx, retention_ns=retention_ns, user=username, folder=out, admin_token=token))
    kept = format_duration(done.retention_ns) if done.retention_ns else FOR_EVER
    files = {name: str(path) for name, path in done.files.items()}
    if json:
        write_json({"org": done.org, "bucket": done.bucket, "retention": kept, "made": done.made, "files": files})
        return
    write(f"made: {', '.join(done.made) or 'nothing new'}; bucket {done.bucket} keeps points {kept}")
    write("secrets, readable only by you: " + ", ".join(files.values()))
    note("in the settings:")
    note(
        f"influx: {{url: {influx.url}, org: {done.org}, bucket: {done.bucket}, "
        f"token_file: {files['influx-write-token']}, query_token_file: {files['influx-query-token']}}}"
    )


def status(config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Say what is sent and what waits, and whether InfluxDB takes points now; exit 1 if anything is wrong."""
    import asyncio

    from gateway.app import open_ledger
    from gateway.history.forward_state import forwarding_state
    from gateway.ledger.forwarding import refused_points
    from gateway.runtime.influx_setup import inspect

    influx = _influx(config, needed=True)
    with open_ledger(config) as ledger:
        state = forwarding_state(ledger)
        refused = refused_points(ledger.connection, 10)
    what = [f"{f.what}; {f.remedy}" for f in asyncio.run(inspect(influx))]
    if state.target not in {None, influx.target}:
        what.append(f"the settings say {influx.target}: it gets the whole ledger once the gateway runs with them")
    if state.poison:
        latest = f"the latest {refused[0].measurement} {refused[0].id}"
        what.append(f"{state.poison} points were refused, {latest}: {refused[0].words}")
    if json:
        points = [{"measurement": r.measurement, "id": r.id, "words": r.words} for r in refused]
        write_json(_record(state) | {"refused": points, "findings": what})
    else:
        for name, value in _record(state).items():
            write(f"{name:16} {'-' if value is None else value}")
        for line in what:
            write(f"! {line}")
    if what or state.failing_since is not None:
        raise typer.Exit(1)


def _record(state: ForwardingState) -> dict[str, object]:
    from gateway.metrology.instants import format_instant

    def moment(ns: int | None) -> str | None:
        return None if ns is None else format_instant(ns)

    return {
        "target": state.target,
        "lag": state.lag,
        "backlog": state.backlog,
        "waiting": state.waiting,
        "oldest_unsent": moment(state.oldest_unsent),
        "last_answer": state.last_answer,
        "last_answer_at": moment(state.last_answer_at),
        "last_sent_at": moment(state.last_sent_at),
        "failing_since": moment(state.failing_since),
        "held_since": moment(state.held_since),
        "poison": state.poison,
    }


def resend(config: ConfigOption = None, json: JsonFlag = False) -> None:
    """Have everything sent again, as after InfluxDB lost data: the same points, so nothing is doubled."""
    from gateway.app import open_ledger
    from gateway.history.forward_state import forwarding_state
    from gateway.ledger.forwarding import forget_sent, put_words, words

    influx = _influx(config, needed=True)
    with open_ledger(config) as ledger:
        with ledger.transaction() as connection:
            target = words(connection).get("target")
            forget_sent(connection)
            put_words(connection, {"target": target})
        readings = forwarding_state(ledger).lag
    if json:
        write_json({"target": influx.target, "readings": readings})
    else:
        write(f"everything in the ledger, {readings} readings, will be sent again to {influx.target}")
