from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Mistakes, WrongUse
from gateway.metrology.instants import DAY_NS
from gateway.settings import Settings, effective, load, unread_variables

SHIPPED = Path(__file__).resolve().parents[1] / "config" / "gateway.yaml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path | None, environ: dict[str, str]) -> list[str]:
    with pytest.raises(Mistakes) as caught:
        load(path, environ)
    return str(caught.value).splitlines()


def test_the_shipped_file_says_the_defaults() -> None:
    assert load(SHIPPED, {}) == Settings()


def test_every_setting_has_the_default_of_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(None, {})
    assert (found.site, found.timezone, found.data_dir) == ("van-giang", "Asia/Ho_Chi_Minh", Path("var"))
    assert (found.broker.host, found.broker.port, found.broker.tls) == ("localhost", 1883, False)
    assert found.client_id == "metergate-van-giang"
    assert found.influx is None
    assert (found.api.host, found.api.port) == ("127.0.0.1", 8080)
    assert (found.drift.budget, found.lateness, found.topics) == ("1/month", 30 * DAY_NS, [])


def test_the_file_in_the_working_directory_is_read_and_a_named_one_must_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/gateway.yaml").write_text("site: hung-yen\n")
    assert load(None, {}).client_id == "metergate-hung-yen"
    with pytest.raises(WrongUse, match=r"no settings file other\.yaml"):
        load(Path("other.yaml"), {})


def test_the_environment_goes_before_the_file_and_may_make_a_section(tmp_path: Path) -> None:
    path = written(tmp_path, "site: a\nbroker: {url: mqtt://one:1883, username: u, password_file: p}\n")
    found = load(
        path,
        {
            "METERGATE_SITE": "no",
            "METERGATE_BROKER__URL": "mqtts://two",
            "METERGATE_INFLUX__TOKEN": "secret-token",
            "METERGATE_DATA_DIR": "/data",
            "METERGATE_LATENESS": "",
            "METERGATE_TOPICS": "[{filter: 'tele/{device}/SENSOR', profile: tasmota-energy}]",
            "HOME": "/root",
        },
    )
    assert (found.site, found.broker.url, found.broker.port, found.broker.username) == ("no", "mqtts://two", 8883, "u")
    assert found.influx is not None
    assert (found.influx.org, found.influx.bucket, found.influx.secret()) == ("metergate", "metergate", "secret-token")
    assert found.data_dir == Path("/data")
    assert found.topics[0].profile == "tasmota-energy"


def test_all_mistakes_are_named_with_line_or_variable(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "site: Van Giang\n"
        "timezone: Asia/Hanoi\n"
        "broker:\n"
        "  url: http://localhost\n"
        "  pasword: x\n"
        "api: {listen: 8080}\n"
        "drift: {budget: 0/month}\n"
        "lateness: thirty days\n"
        "site: twice\n"
        "topics: [{filter: 'tele/{dev}/SENSOR', profile: p}]\n",
    )
    found = [m.removeprefix(f"{tmp_path}/") for m in mistakes(path, {"METERGATE_INFLUX__URL": "ftp://x"})]
    assert [m.split(": ", 2)[:2] for m in found] == [
        ["gateway.yaml:1", "site"],
        ["gateway.yaml:2", "timezone"],
        ["gateway.yaml:4", "broker.url"],
        ["gateway.yaml:5", "broker.pasword"],
        ["gateway.yaml:6", "api.listen"],
        ["gateway.yaml:7", "drift.budget"],
        ["gateway.yaml:8", "lateness"],
        ["gateway.yaml:9", "site"],
        ["gateway.yaml:10", "topics[0].filter"],
        ["environment", "METERGATE_INFLUX__URL"],
    ]


@pytest.mark.parametrize(
    ("broker", "words"),
    [
        ("{url: 'mqtt://u:p@host'}", "has credentials in it"),
        ("{password_file: p}", "a password needs a username"),
        ("{ca_file: ca.pem}", "are for mqtts://"),
        ("{url: 'mqtts://h', cert_file: c}", "belong together"),
        ("{keepalive: 100ms}", "keepalive must be"),
        ("{receive_maximum: 0}", "receive_maximum must be"),
        ("{protocol: 3}", "'3' is not one of auto, 5, 4"),
        ("{url: 'mqtt://h:99999'}", "is not a URL"),
        ("[]", "expected keys and values"),
    ],
)
def test_a_broker_that_cannot_work_is_refused(tmp_path: Path, broker: str, words: str) -> None:
    (found,) = mistakes(written(tmp_path, f"broker: {broker}\n"), {})
    assert words in found
    assert "u:p" not in found


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    secret = tmp_path / "broker-password"
    secret.write_text("hunter2\n")
    path = written(tmp_path, f"broker: {{username: u, password_file: {secret}}}\n")
    found = load(path, {"METERGATE_INFLUX__TOKEN": "tok-123"})
    assert found.broker.secret() == "hunter2"
    shown = str(effective(found))
    assert "hunter2" not in shown
    assert "tok-123" not in shown + repr(found)
    assert set(effective(found)["influx"]["token"]) == {"*"}
    secret.unlink()
    with pytest.raises(WrongUse, match=r"broker\.password_file: cannot read"):
        found.broker.secret()


def test_a_variable_that_names_no_setting_is_reported_not_read() -> None:
    environ = {"METERGATE_SERVICE_HOST": "10.0.0.1", "METERGATE_SITE": "a", "METERGATE_SIET": "b"}
    assert unread_variables(environ) == ["METERGATE_SERVICE_HOST", "METERGATE_SIET"]
    assert load(SHIPPED, environ).site == "a"


@given(st.text(max_size=80))
def test_no_text_of_a_variable_raises_anything_but_mistakes(text: str) -> None:
    for name in ("SITE", "BROKER__URL", "TOPICS", "API__LISTEN", "DRIFT", "LATENESS", "INFLUX__URL", "TIMEZONE"):
        try:
            load(SHIPPED, {f"METERGATE_{name}": text})
        except Mistakes as error:
            assert {m.file for m in error.mistakes} == {"environment"}  # noqa: PT017  either outcome is right
