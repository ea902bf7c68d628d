from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from tests.cli.support import Site

DEVICES = """\
devices:
  - id: scale-07
    kind: weighing
    rule_pack: oiml-r76
    parameters: {class: III, max: 15 kg, e: 5 g, d: 5 g}
    channels: {mass: {unit: kg}}
certificates:
  - {id: c, device: scale-07, channel: mass, performed_at: 2026-03-02, points: [{error: 1 g, U: 1 g, k: 2}]}
"""


@pytest.fixture
def centre(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("METERGATE_SITE", "METERGATE_DATA_DIR", "METERGATE_BROKER__URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("devices", "profiles", "rulepacks"):
        (tmp_path / "config" / name).mkdir(parents=True)
    (tmp_path / "config/gateway.yaml").write_text("site: van-giang\n")
    return tmp_path / "config"


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["config", *arguments])
    return int(caught.value.code or 0)


def test_a_sound_configuration_says_what_was_checked(centre: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (centre / "devices" / "a.yaml").write_text(DEVICES)
    assert run("check") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("sound: config/gateway.yaml; ")
    assert "devices 1, certificates 1, events 0" in captured.out
    assert run("check", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["sound"], document["devices"], document["mistakes"]) == (True, 1, [])


def test_mistakes_of_every_file_are_listed_at_once(centre: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (centre / "gateway.yaml").write_text("topics:\n  - {filter: 'a/{device}', profile: nothing}\n")
    (centre / "devices" / "a.yaml").write_text(DEVICES.replace("class: III", "class: V").replace("U: 1 g", "u: 1 g"))
    (centre / "profiles" / "p.yaml").write_text("title: x\nfoo: 1\n")
    (centre / "rulepacks" / "r.yaml").write_text("id: x\nfoo: 1\n")
    assert run("check") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    places = {line.split(": ")[0] for line in captured.err.splitlines()}
    assert {"config/devices/a.yaml:8", "config/profiles/p.yaml:2", "config/rulepacks/r.yaml:2"} <= places


def test_a_wrong_parameter_and_a_missing_profile_are_placed(centre: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (centre / "gateway.yaml").write_text("topics:\n  - {filter: 'a/{device}', profile: nothing}\n")
    (centre / "devices" / "a.yaml").write_text(DEVICES.replace("class: III", "class: V"))
    assert run("check", "--json") == 2
    document = json.loads(capsys.readouterr().out)
    assert [(m["file"], m["line"], m["key"]) for m in document["mistakes"]] == [
        ("config/devices/a.yaml", 5, "devices[0].parameters.class"),
        ("config/gateway.yaml", 2, "topics[0].profile"),
    ]


def test_a_path_that_is_missing_is_wrong_use_in_one_line(centre: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "nowhere") == 2
    assert capsys.readouterr().err.splitlines() == [
        "nowhere does not exist; name a registry file or folder, such as config/devices"
    ]
    assert run("check", "--config", "nowhere.yaml") == 2


def test_show_prints_what_holds_with_secrets_masked(
    centre: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("METERGATE_SITE", "hung-yen")
    monkeypatch.setenv("METERGATE_INFLUX__TOKEN", "tok-123")
    assert run("show") == 0
    out = capsys.readouterr().out
    assert "tok-123" not in out
    document = json.loads(out)
    assert (document["site"], document["broker"]["client_id"]) == ("hung-yen", "metergate-hung-yen")


@pytest.mark.parametrize("command", ["check", "show"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "Example:" in capsys.readouterr().out


def test_a_mistake_hides_no_other_in_the_same_entry(site: Site) -> None:
    site.write(
        "one.yaml",
        """\
devices:
  - id: a
    kind: weighing
    site: s
    colour: red
    rule_pack: oiml-r76
    parameters: {class: IX, max: 15 kg, e: 5 g}
    channels:
      mass: {unit: kg, timeout: 36x, sigma: 5 L, range: [5 kg, 0 kg]}
      volume: {unit: kg, type: pile}
      flow: {unit: L}
  - {id: a, kind: weighing}
certificates:
  - {id: c, device: nope, channel: mass, performed_at: 2026-03-02, laboratory: [x]}
events:
  - {device: nope, time: 2026-03-02, kind: repair, by: Lan}
""",
    )
    said = site.do("config", "check", "one.yaml", code=2).err
    for place in (
        "one.yaml:5: devices[0].colour", "one.yaml:7: devices[0].parameters.class",
        "one.yaml:7: devices[0].parameters.d",
        "one.yaml:9: devices[0].channels.mass.timeout", "one.yaml:9: devices[0].channels.mass.sigma",
        "one.yaml:9: devices[0].channels.mass.range", "one.yaml:10: devices[0].channels.volume.type",
        "one.yaml:11: devices[0].channels.flow.unit", "certificates[0].laboratory", "certificates[0].device",
        "events[0].by", "events[0].device", "is already in one.yaml",
    ):  # fmt: skip
        assert place in said, place
    assert len(said.splitlines()) == 13
    assert site.do("apply", "one.yaml", code=2).err == said


def test_a_misspelt_key_is_not_told_to_be_missing_as_well(site: Site) -> None:
    site.write(
        "one.yaml",
        """\
devices:
  - id: a
    kind: weighing
    rule_pack: oiml-r76
    parametres: {class: III, max: 15 kg, e: 5 g, d: 5 g}
    channels: {mass: {unit: kg}}
""",
    )
    said = site.do("config", "check", "one.yaml", code=2).err
    assert said == "one.yaml:5: devices[0].parametres: unknown key; did you mean parameters?\n"
