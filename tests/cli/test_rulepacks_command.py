"""`metergate rule-packs` and `verify certificates`: limits with their source, files of one's own, points together."""

from __future__ import annotations

from tests.cli.support import Site

SCALE = ("-p", "class=III", "-p", "max=15 kg", "-p", "e=5 g", "-p", "d=5 g")
OWN = """\
id: market
version: "1"
title: Market scales
source: made for this test
status: unverified
applies_to: mass
argument: {symbol: load, of: reference}
parameters: {e: {dimension: mass}}
in_service: {factor: 2}
limits:
  - {at: "[0, 500 e]", mpe: 0.5 e}
  - {at: "(500 e, inf)", mpe: 1 e}
"""
METERS = """\
devices:
  - id: water-1
    kind: water
    rule_pack: oiml-r49
    parameters: {class: 2, Q3: 2.5 m3/h, R: 160, temperature_class: T30}
    channels: {volume: {unit: L}}
  - id: gas-1
    kind: gas
    rule_pack: oiml-r137
    parameters: {class: 1, Qmin: 0.04 m3/h, Qt: 0.6 m3/h, Qmax: 6 m3/h}
    channels: {volume: {unit: m3}}
  - id: free
    kind: other
    channels: {mass: {unit: kg}}
certificates:
  - {id: w-found, device: water-1, channel: volume, phase: as_found, performed_at: 2026-01-01,
     points: [{x: 0.025 m3/h, error: 2.1 %, U: 0.3 %, k: 2}, {x: 2.5 m3/h, error: 0.4 %, U: 0.3 %, k: 2}]}
  - {id: w-left, device: water-1, channel: volume, performed_at: 2026-01-01,
     points: [{x: 15.625 L/h, error: 4 %, U: 0.3 %, k: 2}, {x: 0.025 m3/h, error: 1.9 %, U: 0.3 %, k: 2},
              {x: 2.5 m3/h, error: 0.9 %, U: 0.7 %, k: 2}]}
  - {id: g-left, device: gas-1, channel: volume, performed_at: 2026-01-01,
     points: [{x: 0.6 m3/h, error: 0.9 %, U: 0.2 %, k: 2}, {x: 6 m3/h, error: -0.4 %, U: 0.2 %, k: 2}]}
  - {id: f, device: free, channel: mass, performed_at: 2026-01-01, points: [{error: 1 g, U: 1 g, k: 2}]}
"""


def test_every_pack_is_listed_with_its_status_and_dates(site: Site) -> None:
    packs = {f"{p['id']}@{p['version']}": p for p in site.do("rule-packs", "list", "--json").document()}
    assert packs["oiml-r76@2006"]["status"] == "verified"
    assert packs["iec-62053-21@2003"]["initial_status"] == "verified"
    assert packs["iec-62053-21@2003"]["in_service_status"] == "unverified"
    assert packs["oiml-r46@2012"]["status"] == "unverified"
    assert packs["dlvn-10@2013"]["effective_from"] == "2013-08-19"
    assert packs["dlvn-10@2011"]["effective_to"] == "2013-08-19"
    assert all(p["source"] and not p["own"] for p in packs.values())
    text = site.do("rule-packs", "list").out
    assert "oiml-r49@2013" in text


def test_a_pack_is_shown_with_the_limits_of_an_instrument(site: Site) -> None:
    shown = site.do("rule-packs", "show", "oiml-r76", *SCALE, "--unit", "g", "--json").document()
    initial = shown["tables"]["initial"]
    assert [(r["at"], r["mpe"]) for r in initial] == [
        ("[0, 2500]", "2.5 g"), ("(2500, 10000]", "5 g"), ("(10000, 15000]", "7.5 g"),
    ]  # fmt: skip
    assert [r["mpe"] for r in shown["tables"]["in_service"]] == ["5 g", "10 g", "15 g"]
    assert site.do("rule-packs", "show", "oiml-r76", "--json").document()["tables"] is None
    hot = site.do("rule-packs", "show", "oiml-r49@2013", "-p", "class=2", "-p", "Q3=2.5 m3/h", "-p", "R=160",
                  "-p", "temperature_class=T70").out  # fmt: skip
    assert "(30, inf)" in hot
    low = site.do("rule-packs", "show", "oiml-r46", "-p", "class=B", "-p", "Ist=0.02 A", "-p", "Imin=0.25 A", "-p",
                  "Itr=0.5 A", "-p", "Imax=60 A", "--json").document()["tables"]["initial"]  # fmt: skip
    assert low[4]["mpe"] == "0.375 % x 1/I"
    assert low[5]["power_factor"] == "0.5i .. 0.8c"


def test_the_limits_of_a_device_are_shown(site: Site) -> None:
    site.apply()
    shown = site.do("rule-packs", "show", "--device", "scale-07", "--json").document()
    assert shown["id"] == "oiml-r76"
    assert shown["tables"]["initial"][0]["mpe"] == "0.0025 kg"
    assert "no device x" in site.do("rule-packs", "show", "--device", "x", code=2).err
    assert "has no rule pack" in site.do("rule-packs", "show", "--device", "meter-01", code=2).err


def test_wrong_use_is_said_in_one_line(site: Site) -> None:
    for arguments, said in (
        (("show", "oiml-76"), "did you mean oiml-r76"),
        (("show", "oiml-r76@1992"), "no rule pack oiml-r76@1992"),
        (("show",), "which pack?"),
        (("show", "oiml-r76", "-p", "class"), "is not key=value"),
        (("show", "oiml-r76", "-p", "class=III"), "max: is missing"),
        (("show", "oiml-r76", *SCALE, "--unit", "L"), "does not speak of L"),
        (("check", "none.yaml"), "none.yaml"),
    ):
        err = site.do("rule-packs", *arguments, code=2).err
        assert said in err
        assert err.count("\n") == 1


def test_a_pack_of_ones_own_is_checked_with_file_and_line(site: Site) -> None:
    site.write("mine.yaml", OWN)
    assert "market@1: 2 limits, 0 of them verified" in site.do("rule-packs", "check", "mine.yaml").out
    assert site.do("rule-packs", "check", "mine.yaml", "--json").document()[0]["limits"] == 2
    site.write("gap.yaml", OWN.replace("(500 e, inf)", "(600 e, inf)"))
    assert site.do("rule-packs", "check", "gap.yaml", code=2).err.startswith("gap.yaml:12: limits[1].at: begins where")
    site.write("config/rulepacks/mine.yaml", OWN)
    packs = {p["id"]: p for p in site.do("rule-packs", "list", "--json").document()}
    assert packs["market"]["own"]


def test_certificate_points_are_judged_alone_and_together(site: Site) -> None:
    site.write("meters.yaml", METERS)
    site.do("apply", "meters.yaml")
    found = {c["certificate"]: c for c in site.do("verify", "certificates", "--json").document()}
    assert set(found) == {"w-found", "w-left", "g-left"}
    left = found["w-left"]
    assert [(p["mpe"], p["within"], p["u_too_large"]) for p in left["points"]] == [
        (5.0, True, False), (2.0, True, False), (2.0, True, True),
    ]  # fmt: skip
    assert left["rules"][0]["rule"] == "same_sign"
    assert left["rules"][0]["holds"] is True
    assert left["conforms"] is True
    assert found["w-found"]["conforms"] is False
    gas = {r["rule"]: r for r in found["g-left"]["rules"]}
    assert gas["same_sign"]["holds"] is True
    # k: 0.6 -> 0.1, 6 -> 0.4: WME = (0.1 · 0.9 - 0.4 · 0.4)/0.5 = -0.14
    assert gas["weighted_mean"]["value"] == -0.14
    assert found["g-left"]["conforms"] is True
    assert found["g-left"]["status"] == "unverified"


def test_only_what_an_instrument_was_left_with_is_a_finding(site: Site) -> None:
    site.write("meters.yaml", METERS)
    site.do("apply", "meters.yaml")
    text = site.do("verify", "certificates", "water-1", code=0).out
    assert "w-found (as_found) water-1 volume: does not conform; oiml-r49@2013" in text
    site.write("worse.yaml", METERS.replace("error: 0.9 %, U: 0.2", "error: 0.2 %, U: 0.2").replace("g-left", "g-2")
               .replace("-0.4 %", "0.6 %").replace("w-", "v-"))  # fmt: skip
    site.do("apply", "worse.yaml")
    said = site.do("verify", "certificates", "gas-1", code=1).out
    assert "same sign over 2 points: no: 0.6 %, limit 0.5 %" in said
    assert "did you mean gas-1?" in site.do("verify", "certificates", "gas-2", code=2).err


VERIFIED = """\
certificates:
  - {id: "k-1", device: scale-07, kind: verification, performed_at: 2026-08-31}
  - {id: "k-2", device: meter-01, kind: calibration, performed_at: 2026-08-31}
"""


def test_a_verification_without_an_end_has_its_due_date_suggested_by_law(site: Site) -> None:
    site.do("apply", "devices.yaml")
    site.write("verified.yaml", VERIFIED)
    site.do("apply", "verified.yaml")
    scale = site.do("devices", "show", "scale-07", "--json").document()
    assert scale["due"] is None, "what no certificate says is no entry of the registry"
    suggested = scale["due_suggested"]
    assert (suggested["due"], suggested["months"], suggested["source"]) == ("2027-08-30T17:00:00Z", 12, "vn-tt23@2024")
    assert suggested["status"] == "unverified"
    assert "ĐLVN 14:2009" in suggested["candidates"][0]["procedures"]
    assert "12 months by vn-tt23@2024 (unverified)" in site.do("devices", "show", "scale-07").out
    assert "~2027-08-30T17:00:00Z" in site.do("devices", "list").out
    assert site.do("devices", "show", "meter-01", "--json").document()["due_suggested"] is None
    site.write(
        "dated.yaml", VERIFIED.replace("k-1", "k-3").replace("2026-08-31}", "2026-09-30, interval_months: 5}", 1)
    )
    site.do("apply", "dated.yaml")
    dated = site.do("devices", "show", "scale-07", "--json").document()
    assert (dated["due"], dated["due_suggested"]) == ("2027-02-27T17:00:00Z", None)


def test_a_damaged_file_of_intervals_is_found_by_config_check(site: Site) -> None:
    site.write("config/rulepacks/intervals/mine.yaml", 'id: vn\nversion: "1"\nintervals: [{kind: scale}]\n')
    said = site.do("config", "check", code=2)
    assert "config/rulepacks/intervals/mine.yaml:3: intervals[0].months: is missing" in said.out + said.err
