"""Topics: filters match as brokers match, templates say who speaks, and each topic has one way to a decoder."""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.decoders import Address
from collectors.decoders.strictjson import UnreadableError
from collectors.profiles import BUILT_IN, parse_profile
from collectors.topics import Router, Template, TopicMapping, filter_matches, is_filter, is_topic, parse_canonical
from gateway.metrology.readings import Why

INPUTS = Path(__file__).resolve().parents[2].parent / "shared" / "inputs"
PLUG = parse_profile(
    "plug",
    "decoder: json-paths\ntime: {path: Time, format: local}\n"
    "channels: {power: {path: P, unit: W}, voltage: {path: U, unit: V}}\n",
    "plug.yaml",
)
PROFILES = {**BUILT_IN, "plug": PLUG}
AT = 1772409600 * 10**9


def router(*mappings: TopicMapping, site: str | None = None) -> Router:
    return Router(mappings, PROFILES, site=site)


def mapped(template: str, profile: str = "plug", **more: object) -> TopicMapping:
    return TopicMapping(template=Template.parse(template), profile=profile, **more)  # type: ignore[arg-type]


def test_filters_match_as_mosquitto_matches() -> None:
    path = INPUTS / "mosquitto" / "topic_match.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    for case in json.loads(path.read_text())["cases"]:
        assert filter_matches(case["filter"], case["topic"]) == case["match"], case
        if case["invalid"]:
            assert not is_filter(case["filter"]) or not is_topic(case["topic"]), case


@given(st.lists(st.text(max_size=5), min_size=1, max_size=5).map("/".join))
def test_a_valid_topic_matches_itself_and_everything(topic: str) -> None:
    if is_topic(topic):
        assert filter_matches(topic, topic)
        assert filter_matches("#", topic) != topic.startswith("$")


def test_the_canonical_topic_says_who_speaks() -> None:
    address = parse_canonical("metergate/reading/van-giang/scale-07/mass")
    assert address == Address(site="van-giang", device="scale-07", channel="mass")


@pytest.mark.parametrize(
    "topic",
    [
        "metergate/reading/van-giang/scale-07",
        "metergate/reading/van-giang/scale-07/mass/x",
        "metergate/reading//scale-07/mass",
        "metergate/reading/Van/scale-07/mass",
        "metergate/reading/s/-a/mass",
        "metergate/reading/s/" + "a" * 65 + "/mass",
        "metergate/reading/s/a/b\x00",
        "metergate/reading",
        "",
        "no/such",
        "\ud800",
    ],
)
def test_other_topics_are_refused_as_bad(topic: str) -> None:
    decoded = router().decode(topic, b"{}", 5, AT)
    assert [(r.reason, r.source) for r in decoded.refused] == [(Why.BAD_TOPIC, 5)]


@pytest.mark.parametrize(
    ("template", "filter_", "topic", "address"),
    [
        ("tele/{device}/SENSOR", "tele/+/SENSOR", "tele/plug-1/SENSOR", Address(device="plug-1")),
        ("tele/{device}/SENSOR", "tele/+/SENSOR", "tele/DVES_0A1B/SENSOR", Address(device="dves_0a1b")),
        ("{site}/x-{device}/{channel}", "+/+/+", "a/x-b/c", Address(site="a", device="b", channel="c")),
        ("{device}/#", "+/#", "a/b/c", Address(device="a")),
        ("{device}/#", "+/#", "a", Address(device="a")),
        ("+/{device}", "+/+", "x/a", Address(device="a")),
    ],
)
def test_templates_are_filters_that_name_places(template: str, filter_: str, topic: str, address: Address) -> None:
    found = Template.parse(template)
    assert found.filter == filter_
    assert found.match(topic) == address


@pytest.mark.parametrize(("template", "topic"), [("tele/{device}/SENSOR", "tele/a/STATE"), ("x-{device}", "y-a")])
def test_a_template_passes_over_other_topics(template: str, topic: str) -> None:
    assert Template.parse(template).match(topic) is None


def test_a_template_refuses_what_is_no_id() -> None:
    with pytest.raises(UnreadableError, match="no id"):
        Template.parse("tele/{device}/SENSOR").match("tele/a b/SENSOR")


@pytest.mark.parametrize("text", ["", "tele/{what}/x", "{device}/{device}", "a/#/b", "a+/b", "tele/{device/x"])
def test_what_is_no_template_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Template.parse(text)


def test_a_mapping_leads_to_its_profile() -> None:
    found = router(mapped("tele/{device}/SENSOR"), site="van-giang")
    assert found.filters == ("metergate/reading/#", "tele/+/SENSOR")
    decoded = found.decode("tele/plug-1/SENSOR", b'{"P":5,"U":230}', 0, AT)
    assert [(r.device, r.channel, r.value) for r in decoded.readings] == [
        ("plug-1", "power", 5),
        ("plug-1", "voltage", 230),
    ]
    assert found.route("tele/plug-1/SENSOR").address.site == "van-giang"


def test_a_mapping_may_name_the_zone_and_the_channels_taken() -> None:
    found = router(mapped("tele/{device}/SENSOR", timezone=ZoneInfo("Asia/Ho_Chi_Minh"), channels=frozenset({"power"})))
    (reading,) = found.decode("tele/p/SENSOR", b'{"Time":"2026-03-02T07:00:00","P":5,"U":230}', 0, 0).readings
    assert (reading.channel, reading.time, reading.clock_suspect) == ("power", AT, False)


def test_a_mapping_without_a_profile_is_refused_by_name() -> None:
    decoded = router(mapped("x/{device}", "no-such")).decode("x/a", b"{}", 0, AT)
    assert [r.reason for r in decoded.refused] == [Why.UNKNOWN_PROFILE]


def test_a_foreign_site_is_an_identity_mismatch_where_the_site_counts() -> None:
    payload = b'{"ts":1772409600000,"value":1,"unit":"kg"}'
    topic = "metergate/reading/elsewhere/scale-07/mass"
    assert [r.reason for r in router(site="van-giang").decode(topic, payload, 0, AT).refused] == [Why.IDENTITY_MISMATCH]
    assert len(router().decode(topic, payload, 0, AT).readings) == 1


def test_a_route_found_twice_is_the_same() -> None:
    found = router(mapped("tele/{device}/SENSOR"))
    assert found.route("tele/a/SENSOR") is found.route("tele/a/SENSOR")
    for _ in range(2):
        with pytest.raises(UnreadableError):
            found.route("nowhere")


@pytest.mark.parametrize(("seq", "is_marked"), [("device", True), ("channel", False)])
def test_a_profile_says_whether_one_seq_counts_all_channels(seq: str, is_marked: bool) -> None:
    profile = parse_profile(
        "pair",
        f"decoder: json-paths\nseq: {seq}\nchannels:\n"
        "  power: {path: P, unit: W, fields: {seq: n}}\n  voltage: {path: U, unit: V}\n",
        "pair.yaml",
    )
    way = Router([mapped("x/{device}", "pair")], {"pair": profile})
    found = way.decode("x/a", b'{"P": 5, "U": 230, "n": 7}', 0, AT).readings
    assert [(r.channel, r.seq, r.seq_per_device) for r in found] == [("power", 7, is_marked), ("voltage", None, False)]
