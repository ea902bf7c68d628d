"""`metergate influx`: set-up of a fresh server and of one in use, refusals in one line, what status says."""

from __future__ import annotations

import json
import os
import shutil
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.history.forward import Feed
from gateway.ledger.store import Ledger
from tests.cli.support import Site, steady
from tests.conftest import free_port
from tests.influx.real import bucket
from tests.influx.standin import Canned, StandIn
from tests.influx.support import all_points


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Site:
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("METERGATE_") and "TEST" not in n]:
        monkeypatch.delenv(name)
    return Site(tmp_path, capsys)


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[str]:
    """A real InfluxDB that nobody has set up; its binary is named by METERGATE_TEST_INFLUXD."""
    binary = os.environ.get("METERGATE_TEST_INFLUXD") or shutil.which("influxd")
    if binary is None:
        pytest.skip("no influxd on this machine: set METERGATE_TEST_INFLUXD")
    folder, port = tmp_path / "influxd", free_port()
    folder.mkdir()
    options = [
        "--bolt-path",
        f"{folder}/bolt",
        "--sqlite-path",
        f"{folder}/sqlite",
        "--engine-path",
        f"{folder}/engine",
    ]
    process = subprocess.Popen(
        [binary, *options, "--http-bind-address", f"127.0.0.1:{port}", "--reporting-disabled", "--log-level", "error"]
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=1):  # noqa: S310  loopback
                    break
            except OSError:
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


class _Plain(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture
def plain() -> Iterator[int]:
    """The port of a server that speaks HTTP and no TLS."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_retention_shorter_than_the_outage_tolerance_is_refused(site: Site) -> None:
    said = site.do("influx", "setup", "--retention", "7d", code=1)
    assert "a retention of 7d is shorter than the outage tolerance of 30d" in said.err
    assert not (site.folder / "secrets").exists()


def test_no_server_is_one_line(site: Site) -> None:
    site.write("config/gateway.yaml", f"influx: {{url: http://127.0.0.1:{free_port()}}}\n")
    said = site.do("influx", "setup", code=2)
    assert said.err.count("\n") == 1
    assert "check influx.url" in said.err


def test_something_else_than_influxdb_is_one_line(site: Site) -> None:
    with StandIn().in_thread() as standin:
        standin.always = Canned(status=200, body=b"<html>")
        site.write("config/gateway.yaml", f"influx: {{url: {standin.url}}}\n")
        said = site.do("influx", "setup", code=2)
    assert "something else than InfluxDB 2" in said.err


def test_status_without_influxdb_says_what_to_add(site: Site) -> None:
    assert "add an influx section" in site.do("influx", "status", code=2).err


def test_status_shows_lag_and_what_is_wrong(site: Site) -> None:
    with StandIn().in_thread() as standin:
        site.write("config/gateway.yaml", f"influx: {{url: {standin.url}, token: write-token}}\n")
        site.apply()
        site.do("import", site.recording("r.csv", steady(range(1, 9))))
        said = site.do("influx", "status", "--json").document()
        assert (said["lag"], said["poison"], said["findings"]) == (8, 0, [])
        with Ledger.open(site.folder / "var") as ledger:
            all_points(Feed(ledger, "van-giang", f"{standin.url} metergate/metergate"))
        assert site.do("influx", "status", "--json").document()["lag"] == 0
        site.do("influx", "resend")
        assert site.do("influx", "status", "--json").document()["lag"] == 8
        standin.token = "another"  # noqa: S105  of the stand-in
        said = site.do("influx", "status", "--json", code=1).document()
        assert "401 unauthorized access" in said["findings"][0]


REFUSED = b'{"code": "x", "message": "said so"}'


@pytest.mark.parametrize(
    ("answer", "what", "remedy"),
    [
        (Canned(status=401, body=REFUSED), "refuses to take points: 401 said so", "influx.token_file"),
        (Canned(status=403, body=REFUSED), "refuses to take points: 403 said so", "the right to write"),
        (Canned(status=404, body=REFUSED), "refuses to take points: 404 said so", "influx.org and influx.bucket"),
        (Canned(status=404, body=b"<html>no page"), "does not answer as InfluxDB 2 does: 404", "correct influx.url"),
        (Canned(status=405, body=b"{}"), "does not answer as InfluxDB 2 does: 405", "correct influx.url"),
        (Canned(status=200, body=b"<html>"), "does not answer as InfluxDB 2 does: 200", "correct influx.url"),
        (Canned(status=503), "cannot be used: 503", "whether it runs"),
    ],
)
def test_each_thing_that_is_wrong_has_its_own_remedy(site: Site, answer: Canned, what: str, remedy: str) -> None:
    with StandIn().in_thread() as standin:
        standin.always = answer
        site.write("config/gateway.yaml", f"influx: {{url: {standin.url}, token: write-token}}\n")
        site.apply()
        (said,) = site.do("influx", "status", "--json", code=1).document()["findings"]
        found = site.do("doctor", "influx", code=1).out.splitlines()[0]
    assert what in said
    assert remedy in said.split("; ", 1)[1]
    assert said in found


@pytest.mark.parametrize(
    ("url", "words", "code"),
    [
        ("http://127.0.0.1:{free}", "connection refused", 1),
        ("http://nobody.invalid:8086", "name or service not known", 1),
        ("https://127.0.0.1:{plain}", "no TLS with https://127.0.0.1:{plain}: wrong version number", 2),
    ],
)
def test_an_address_that_is_wrong_is_told_in_the_systems_words(
    site: Site, plain: int, url: str, words: str, code: int
) -> None:
    ports = {"free": free_port(), "plain": plain}
    site.write("config/gateway.yaml", f"influx: {{url: '{url.format(**ports)}', token: t}}\n")
    site.apply()
    status = site.do("influx", "status", code=1).out
    history = site.do("history", "scale-07", "--store", "influx", code=code).err
    for said in (status, history):
        assert words.format(**ports) in said
        assert "Errno" not in said
        assert "ssl:default" not in said
    assert history.count("\n") == 1


def test_a_token_file_that_is_not_there_is_named_by_every_command(site: Site) -> None:
    with StandIn().in_thread() as standin:
        site.write("config/gateway.yaml", f"influx: {{url: {standin.url}, token_file: secrets/none}}\n")
        site.apply()
        words = "influx.token_file: cannot read secrets/none: No such file or directory"
        remedy = "write the secret there, or correct the path"
        assert f"note: {words}; {remedy}\n" in site.do("config", "check").err
        assert site.do("influx", "status", "--json", code=1).document()["findings"] == [f"{words}; {remedy}"]
        assert f"{words}; {remedy}" in site.do("doctor", "influx", code=1).out


def test_what_was_sent_elsewhere_is_not_said_to_be_here(site: Site) -> None:
    with StandIn().in_thread() as standin:
        site.write("config/gateway.yaml", f"influx: {{url: {standin.url}, token: write-token}}\n")
        site.apply()
        with Ledger.open(site.folder / "var") as ledger:
            all_points(Feed(ledger, "van-giang", "http://old:8086 metergate/metergate"))
        said = site.do("doctor", "influx").out
        assert "everything is in InfluxDB" not in said
        assert f"went to http://old:8086 metergate/metergate, not to {standin.url} metergate/metergate" in said
        assert "the whole ledger" in site.do("influx", "status", code=1).out


def test_a_query_token_that_sees_no_bucket_is_a_finding(site: Site) -> None:
    with bucket() as real:
        made = json.dumps(
            {
                "influx": {
                    "url": real.url,
                    "org": real.org,
                    "bucket": real.name,
                    "token": real.token,
                    "query_token": "another",
                }
            }
        )
        site.write("config/gateway.yaml", made)
        site.apply()
        (said,) = site.do("influx", "status", "--json", code=1).document()["findings"]
    assert "the token for them cannot read bucket" in said
    assert "influx.query_token_file" in said


def test_a_fresh_server_gets_user_bucket_and_tokens_that_may_do_one_thing_each(site: Site, fresh_server: str) -> None:
    site.write("config/gateway.yaml", f"influx: {{url: {fresh_server}, org: trung-tam, bucket: van-giang}}\n")
    done = site.do("influx", "setup", "--retention", "3650d", "--json").document()
    assert "bucket van-giang" in done["made"]
    files = {n: site.folder / p for n, p in done["files"].items()}
    assert {f.stat().st_mode & 0o777 for f in files.values()} == {0o600}
    assert (
        "there already"
        in site.do(
            "influx", "setup", "--out", "secrets", "--admin-token-file", str(files["influx-admin-token"]), code=1
        ).err
    )
    assert "set up already" in site.do("influx", "setup", "--out", "more", code=1).err
    config = (
        f"influx: {{url: {fresh_server}, org: trung-tam, bucket: van-giang, "
        f"token_file: {files['influx-write-token']}, query_token_file: {files['influx-query-token']}}}\n"
    )
    site.write("config/gateway.yaml", config)
    site.apply()
    assert site.do("influx", "status", "--json").document()["findings"] == []

    def post(path: str, body: bytes, token: str) -> int:
        request = urllib.request.Request(f"{fresh_server}{path}", body, {"Authorization": f"Token {token}"})  # noqa: S310  loopback
        request.add_header("Content-Type", "application/vnd.flux")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  loopback
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    write, query = (files[f"influx-{n}-token"].read_text().strip() for n in ("write", "query"))
    line, flux = b"m f=1", b'from(bucket: "van-giang") |> range(start: -1h)'
    assert post("/api/v2/write?org=trung-tam&bucket=van-giang", line, write) == 204
    assert post("/api/v2/write?org=trung-tam&bucket=van-giang", line, query) == 403
    assert post("/api/v2/query?org=trung-tam", flux, query) == 200
    assert post("/api/v2/query?org=trung-tam", flux, write) >= 400
    site.write("config/gateway.yaml", config.replace("}", ", outage_tolerance: 4000d}"))
    said = site.do("influx", "status", "--json", code=1).document()["findings"]
    assert "shorter than the outage tolerance" in said[0]


def test_on_a_server_in_use_only_what_is_missing_is_made(site: Site) -> None:
    with bucket(retention_s=40 * 86_400) as real:
        site.write("admin", real.token)
        site.write(
            "config/gateway.yaml", json.dumps({"influx": {"url": real.url, "org": real.org, "bucket": real.name}})
        )
        done = site.do("influx", "setup", "--admin-token-file", "admin", "--json").document()
        assert (done["made"], done["retention"]) == ([], "40d")
        site.write(
            "config/gateway.yaml",
            json.dumps({"influx": {"url": real.url, "org": real.org, "bucket": real.name, "outage_tolerance": "60d"}}),
        )
        said = site.do("influx", "setup", "--admin-token-file", "admin", "--out", "more", code=1)
        assert "shorter than the outage tolerance" in said.err
        assert not list((site.folder / "more").iterdir())
