"""The influx section: refused where it cannot work; without it nothing of InfluxDB is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import Mistakes, WrongUse
from gateway.settings import Influx, effective, load


def of(tmp_path: Path, section: str) -> Influx:
    path = tmp_path / "gateway.yaml"
    path.write_text(f"influx: {section}\n")
    found = load(path, {}).influx
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{url: 'http://h:8086', ca_file: ca.pem}", "ca_file is for https://"),
        ("{gzip: yes}", "not one of auto, on, off"),
        ("{outage_tolerance: soon}", "outage_tolerance"),
        ("{tokenfile: t}", "tokenfile"),
        ("{url: 'http://u:p@h'}", "has credentials in it"),
    ],
)
def test_a_section_that_cannot_work_is_refused(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(Mistakes, match=words):
        of(tmp_path, section)


@pytest.mark.parametrize(
    ("section", "compressed"),
    [
        ("{url: 'http://localhost:8086'}", False),
        ("{url: 'http://127.0.0.2:8086'}", False),
        ("{url: 'http://[::1]:8086'}", False),
        ("{url: 'https://influx.example'}", True),
        ("{url: 'http://influxdb:8086', gzip: off}", False),
        ("{gzip: on}", True),
    ],
)
def test_what_leaves_the_machine_is_compressed(tmp_path: Path, section: str, compressed: bool) -> None:
    assert of(tmp_path, section).compressed is compressed


def test_queries_have_a_token_of_their_own_or_the_writers(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("write\n")
    (tmp_path / "q").write_text("query\n")
    one = of(tmp_path, f"{{token_file: {tmp_path}/w}}")
    assert (one.secret(), one.query_secret()) == ("write", "write")
    both = of(tmp_path, f"{{token_file: {tmp_path}/w, query_token_file: {tmp_path}/q}}")
    assert (both.secret(), both.query_secret()) == ("write", "query")
    (tmp_path / "q").unlink()
    with pytest.raises(WrongUse, match=r"influx\.query_token_file: cannot read"):
        both.query_secret()


def test_tokens_are_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("influx: {token: hush-w, query_token: hush-q}\n")
    found = load(path, {})
    assert "hush" not in str(effective(found)) + repr(found)


def test_a_gateway_without_influxdb_loads_none_of_it() -> None:
    script = (
        "import sys, gateway.running, gateway.cli.commands.influx\n"
        "print(sorted({'influxdb_client', 'aiohttp', 'reactivex', 'scipy', 'pandas'} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
