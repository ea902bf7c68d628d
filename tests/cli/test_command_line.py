"""What every command does alike: one-line errors, streams that are closed or narrow, numbers beyond all bounds."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.support import Site

COMMAND = [sys.executable, "-m", "gateway"]


def run(*arguments: str, redirect: str = "", cwd: Path | None = None, **environment: str) -> tuple[int, str, str]:
    """Run the command as a shell does; stderr that is not UTF-8 would fail here."""
    line = f'exec "$@" {redirect}'
    done = subprocess.run(
        ["bash", "-c", line, "-", *COMMAND, *arguments],
        capture_output=True, cwd=cwd, env=os.environ | environment, stdin=subprocess.DEVNULL, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("histroy",), "no such command 'histroy'"),
        (("history",), "missing argument"),
        (("history", "scale-07", "--fron", "x"), "no such option: --fron"),
        (("alarms", "ack", "x"), "missing option '--reason' / '-r'; see `metergate alarms ack --help`"),
        (("quarantine", "show", "x"), "invalid value"),
        (("drift", "arl", "--chart", "shewhart", "--L", "three"), "invalid value for '--l'"),
        (("replay", "a.csv", "b.csv"), "unexpected extra argument"),
        (("demo", "--seconds", "0"), "invalid value"),
    ],
)
def test_a_wrong_call_is_told_in_one_line_with_the_way_to_help(site: Site, call: tuple[str, ...], said: str) -> None:
    result = site.do(*call, code=2)
    assert result.out == ""
    assert len(result.err.splitlines()) == 1, result.err
    assert said in result.err.lower()
    assert "--help`" in result.err


def test_a_group_alone_shows_its_help(site: Site) -> None:
    assert "Commands:" in site.do("devices", code=2).err


@pytest.mark.parametrize("call", [("--version",), ("history", "--version"), ("devices", "list", "--version")])
def test_every_command_tells_the_version(site: Site, call: tuple[str, ...]) -> None:
    assert site.do(*call).out.startswith("metergate 0.")


@pytest.mark.parametrize("call", [("show", "99999999999999999999999"), ("approve", "9" * 30), ("reject", "9" * 30)])
def test_a_quarantine_entry_beyond_all_numbers_is_unknown(site: Site, call: tuple[str, str]) -> None:
    site.apply()
    assert "no quarantine entry 99999" in site.do("quarantine", *call, code=2).err


def test_a_reader_that_has_seen_enough_is_no_finding() -> None:
    code, _, err = run("rule-packs", "list", "--json", redirect="> >(head -c 1 >/dev/null)")
    assert (code, err) == (0, "")
    code, _, err = run("rule-packs", "list", "--json", redirect="> >(exec 0<&-)")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("redirect", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams_are_no_traceback(redirect: str) -> None:
    code, _, err = run("rule-packs", "list", redirect=redirect)
    assert (code, err) == (0, "")
    code, _, err = run("decode", redirect=redirect)
    assert code == 1
    assert "Traceback" not in err


def test_a_full_disk_under_the_output_is_told_with_its_remedy() -> None:
    code, _, err = run("rule-packs", "list", redirect=">/dev/full")
    assert code == 2
    assert err == "cannot use: No space left on device; make room on the disk\n"


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_characters_the_terminal_lacks_are_escaped(encoding: str, tmp_path: Path) -> None:
    design = ("drift", "design", "--devices", "20", "--checks-per-day", "1", "--budget", "1/month")
    code, out, err = run(*design, PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert "shift \\u03c3 0.5" in out
    payload = tmp_path / "payload"
    payload.write_text('{"ts": 1795395600000, "value": 1, "unit": "kg", "bàn chợ 🙂": 1}', encoding="utf-8")
    code, out, err = run("decode", "--json", str(payload), PYTHONIOENCODING="ascii")
    assert code == 1
    assert "bàn chợ 🙂" in json.loads(out)["refused"][0]["detail"]


@pytest.mark.parametrize("command", [("apply",), ("apply", "--dry-run"), ("certificates", "read"), ("config", "check")])
def test_a_missing_certificate_file_is_missing_whatever_else_is_said_of_it(
    site: Site, command: tuple[str, ...]
) -> None:
    site.apply()
    said = ("--device", "scale-07") if command[0] == "apply" else ()
    assert site.do(*command, "3681-26.xml", *said, code=2).err.startswith("3681-26.xml does not exist")


@pytest.mark.parametrize("command", ["replay", "import"])
def test_a_missing_recording_without_a_suffix_is_missing(site: Site, command: str) -> None:
    site.apply()
    assert site.do(command, "march", code=2).err == "there is no file march; check the path\n"


@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_day_that_cannot_be_is_not_told_to_have_no_zone(site: Site, option: str) -> None:
    site.apply()
    said = site.do("history", "scale-07", option, "9999-12-31", code=2).err
    assert "not between 1970 and 2261" in said
    assert "zone" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("delay", [0.0, 0.3, 0.9])
def test_run_ends_fine_however_early_it_is_told_to_stop(tmp_path: Path, number: int, delay: float) -> None:
    """Python itself must be up: the first line of `main` is what the signal waits for here."""
    code = (
        "import sys, os\n"
        "from gateway.cli import app\n"
        "run = app._run\n"
        "app._run = lambda arguments: (os.write(1, b'up'), run(arguments))[1]\n"
        "app.main(['run'])\n"
    )
    environment = os.environ | {"METERGATE_BROKER__URL": "mqtt://localhost:1", "METERGATE_API__LISTEN": "127.0.0.1:0"}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as gateway:
        assert gateway.stdout is not None
        assert gateway.stdout.read(2) == b"up"
        time.sleep(delay)
        gateway.send_signal(number)
        _, err = gateway.communicate(timeout=10)
    assert gateway.returncode == 0, err.decode()
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("error", "remedy"),
    [("database or disk is full", "make room on the disk"), ("disk I/O error", "see what `metergate doctor` says")],
)
def test_trouble_of_the_ledger_is_told_in_one_line(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: str, remedy: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError(error)

    monkeypatch.setattr("gateway.app.import_files", fails)
    assert site.do("import", "a.csv", code=2).err == f"cannot use the ledger: {error}; {remedy}\n"


def test_a_defect_of_ours_is_told_in_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr("gateway.app.import_files", fails)
    said = site.do("import", "a.csv", code=2).err
    assert said.startswith("metergate itself failed: KeyError: ")
    assert len(said.splitlines()) == 1


def test_an_endless_payload_is_too_large_and_read_no_further() -> None:
    code, out, _ = run("decode", "--json", "/dev/zero")
    assert code == 1
    assert json.loads(out)["refused"][0]["reason"] == "too_large"


def test_the_folder_of_a_file_to_write_is_made(site: Site) -> None:
    site.apply()
    site.do("history", "scale-07", "--format", "csv", "--out", "2026/may/scale-07.csv")
    assert (site.folder / "2026/may/scale-07.csv").read_text(encoding="utf-8").startswith("time,device")
