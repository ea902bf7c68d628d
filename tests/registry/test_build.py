from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Mistakes
from gateway.metrology.instants import HOUR_NS, format_instant
from gateway.metrology.rulepacks import RulePacks
from gateway.registry.build import build
from gateway.registry.model import Axis, Channel, ErrorKind, Phase, Point
from tests.registry.conftest import ZONE, mistakes, registry, specs

CONTRACT = """
    devices:
      - id: scale-07
        kind: weighing
        site: van-giang
        serial: "A1234"
        name: "Cân bàn chợ Văn Giang"
        parameters: {d: 5 g}
        in_service: true
        decision: simple
        channels:
          mass: {unit: kg, sigma: 1.6 g, timeout: 36h, range: [0 kg, 15.05 kg]}
        drift: {shewhart: {L: 3}, ewma: {lambda: 0.2, L: 2.962}, cusum: {k: 0.5, h: 5}}
    certificates:
      - {id: "3681-26", device: scale-07, channel: mass, kind: calibration, phase: as_left, performed_at: 2026-03-02,
         interval_months: 12, laboratory: "Trung tâm Kỹ thuật TĐC",
         points: [{x: 5 kg, error: 1.2 g, U: 1.0 g, k: 2}, {x: 10 kg, error: 2.0 g, U: 1.2 g, k: 2}]}
    events:
      - {device: scale-07, time: 2026-05-01T08:00:00+07:00, kind: adjustment, note: "span"}
"""


def test_the_example_of_the_contract_is_understood() -> None:
    found = registry(CONTRACT)
    channel = found.devices["scale-07"].channels["mass"]
    assert channel.sigma == Decimal("0.0016")
    assert channel.resolution == Decimal("0.005")
    assert channel.range == (Decimal(0), Decimal("15.05"))
    assert channel.timeout_ns == 36 * HOUR_NS
    assert channel.drift == {"shewhart": {"L": 3.0}, "ewma": {"lambda": 0.2, "L": 2.962}, "cusum": {"k": 0.5, "h": 5.0}}
    (certificate,) = found.certificates
    assert certificate.phase is Phase.AS_LEFT
    assert format_instant(certificate.performed_at) == "2026-03-01T17:00:00Z"
    assert certificate.valid_to is not None
    assert format_instant(certificate.valid_to) == "2027-03-01T17:00:00Z"
    assert [(p.x, p.error, p.U) for p in certificate.points] == [
        (Decimal(5), Decimal("0.0012"), Decimal("0.001")),
        (Decimal(10), Decimal("0.002"), Decimal("0.0012")),
    ]
    assert format_instant(found.events[0].time) == "2026-05-01T01:00:00Z"


@pytest.mark.parametrize(
    ("kind", "channel", "unit", "error", "axis"),
    [
        ("weighing", "mass", "kg", ErrorKind.ABSOLUTE, Axis.REFERENCE),
        ("electricity", "active_energy", "kWh", ErrorKind.RELATIVE, Axis.CURRENT),
        ("water", "volume", "m3", ErrorKind.RELATIVE, Axis.FLOW),
        ("gas", "volume", "m3", ErrorKind.RELATIVE, Axis.FLOW),
        ("fuel", "volume", "L", ErrorKind.RELATIVE, Axis.FLOW),
        ("reference", "volume", "L", ErrorKind.ABSOLUTE, Axis.REFERENCE),
        ("other", "torque", "N·m", ErrorKind.ABSOLUTE, Axis.REFERENCE),
    ],
)
def test_error_and_axis_default_by_kind(kind: str, channel: str, unit: str, error: ErrorKind, axis: Axis) -> None:
    found = registry(f"devices: [{{id: d, kind: {kind}, channels: {{{channel}: {{unit: {unit}}}}}}}]")
    built = found.devices["d"].channels[channel]
    assert (built.error, built.axis) == (error, axis)
    assert built == Channel(name=channel, unit=unit, error=error, axis=axis)


def test_unknown_keys_wrong_values_and_missing_ones_are_all_named_at_once() -> None:
    found = mistakes("""\
        devices:
          - id: Bad Id
            kind: weihing
            colour: red
            channels:
              mass: {unit: kg, sigmma: 1 g, learn: x, range: [0 kg], stuck: q}
              flow:
          - text
        certificates:
          - {id: a, device: d, channel: mass, performed_at: 2026-13-02, points: [{x: 1 kg, U: -1 g, k: 0}]}
        gadgets: []
        """)
    assert found == [
        (
            "devices.yaml:2: devices[0].id: 'Bad Id' is not an id; use 1 to 64 of a-z 0-9 . _ - with a letter or digit "
            "first (no capitals)"
        ),
        (
            "devices.yaml:3: devices[0].kind: 'weihing' is not one of weighing, electricity, water, gas, fuel, "
            "reference, other"
        ),
        (
            "devices.yaml:4: devices[0].colour: unknown key; known here: id, kind, site, serial, name, rule_pack, "
            "parameters, in_service, decision, channels, drift"
        ),
        "devices.yaml:6: devices[0].channels.mass.learn: 'x' is not a whole number",
        "devices.yaml:6: devices[0].channels.mass.range[1]: is missing",
        "devices.yaml:6: devices[0].channels.mass.sigmma: unknown key; did you mean sigma?",
        "devices.yaml:6: devices[0].channels.mass.stuck: 'q' is neither a whole number nor a duration such as 1h",
        "devices.yaml:7: devices[0].channels.flow.unit: is missing",
        "devices.yaml:8: devices[1]: expected keys and values",
        "devices.yaml:10: certificates[0].performed_at: there is no day 2026-13-02",
        "devices.yaml:10: certificates[0].points[0].U: must not be negative",
        "devices.yaml:10: certificates[0].points[0].k: must be above 0",
        "devices.yaml:11: gadgets: unknown key; known here: devices, certificates, events",
    ]


def channel_mistakes(channel: str, *, kind: str = "weighing", name: str = "mass") -> list[str]:
    found = mistakes(f"devices: [{{id: d, kind: {kind}, channels: {{{name}: {{{channel}}}}}}}]")
    return [line.removeprefix(f"devices.yaml:1: devices[0].channels.{name}.") for line in found]


@pytest.mark.parametrize(
    ("channel", "wanted"),
    [
        ("unit: L", "unit: L is volume, the channel mass is mass"),
        ("unit: KG", "unit: unit 'KG' is not known; write kg (upper and lower case matter)"),
        ("unit: kg, sigma: 1 L", "sigma: L is volume, kg is mass"),
        ("unit: kg, error: relative, sigma: 1 g", "sigma: g is mass, % is ratio"),
        ("unit: kg, sigma: 0 g", "sigma: must be above 0; leave it out to have it learned"),
        ("unit: kg, range: [5 kg, 1 kg]", "range: begins at 5 kg and ends at 1 kg; write [lowest, highest]"),
        ("unit: kg, digits: 6", "digits: is for channels of type register"),
        ("unit: kg, learn: 1", "learn: must be 2 to 10000 checks"),
        ("unit: kg, stuck: 1", "stuck: must be at least 2 readings, or a duration"),
        ("unit: kg, subgroup: 0", "subgroup: must be at least 1"),
        ("unit: kg, drift: {cusum: {k: 0}}", "drift.cusum.k: must be above 0"),
        ("unit: kg, drift: {ewma: {lambda: 1.5}}", "drift.ewma.lambda: must be above 0 and at most 1"),
        ("unit: kg, drift: {trend: {}}", "drift.trend: unknown chart; known are cusum, ewma, shewhart"),
        ("unit: kg, drift: {shewhart: {h: 5}}", "drift.shewhart.h: unknown key; shewhart has L, rules"),
    ],
)
def test_a_channel_that_contradicts_itself_is_refused(channel: str, wanted: str) -> None:
    assert channel_mistakes(channel) == [wanted]


def test_a_length_and_a_count_are_told_apart() -> None:
    found = registry("""
        devices:
          - {id: a, kind: weighing, channels: {mass: {unit: kg, stuck: 12, subgroup: 5}}}
          - {id: b, kind: weighing, channels: {mass: {unit: kg, stuck: 2h, subgroup: 1h}}}
        """)
    a, b = found.devices["a"].channels["mass"], found.devices["b"].channels["mass"]
    assert (a.stuck_n, a.stuck_ns, a.subgroup_n, a.subgroup_ns) == (12, None, 5, None)
    assert (b.stuck_n, b.stuck_ns, b.subgroup_n, b.subgroup_ns) == (None, 2 * HOUR_NS, 1, HOUR_NS)


def test_the_resolution_defaults_to_d_only_where_it_is_of_that_dimension() -> None:
    found = registry("""
        devices:
          - {id: a, kind: weighing, parameters: {d: 5 g}, channels: {mass: {unit: kg}, temperature: {unit: °C}}}
        """)
    channels = found.devices["a"].channels
    assert (channels["mass"].resolution, channels["temperature"].resolution) == (Decimal("0.005"), Decimal(0))


def test_a_literal_unit_must_match_literally() -> None:
    text = "devices: [{{id: d, kind: other, channels: {{torque: {{unit: N·m, sigma: 1 {}}}}}}}]"
    assert registry(text.format("N·m")).devices["d"].channels["torque"].sigma == 1
    assert len(mistakes(text.format("Nm"))) == 1


def points(
    channel: str, written: str, *, kind: str = "weighing", name: str = "mass", more: str = ""
) -> tuple[Point, ...]:
    return registry(certified(channel, written, kind=kind, name=name, more=more)).certificates[0].points


def certified(channel: str, written: str, *, kind: str = "weighing", name: str = "mass", more: str = "") -> str:
    return f"""
        devices: [{{id: d, kind: {kind}, channels: {{{name}: {{{channel}}}}}}}]
        certificates: [{{id: c, device: d, channel: {name}, performed_at: 2026-03-02, {more} points: [{written}]}}]
        """


def test_a_correction_is_the_opposite_of_the_error() -> None:
    (point,) = points("unit: kg", "{x: 5 kg, correction: 1.2 g, U: 1 g, k: 2}")
    assert point.error == Decimal("-0.0012")


def test_the_axis_has_its_own_unit() -> None:
    (point,) = points("unit: m3", "{x: 25 L/h, error: 0.2 %, U: 1000 ppm, k: 2}", kind="water", name="volume")
    assert (point.x, point.error, point.U) == (Decimal("0.025"), Decimal("0.2"), Decimal("0.1"))
    (point,) = points(
        "unit: kWh", "{x: 500 mA, error: 0.2 %, U: 0.1 %, k: 2, power_factor: 0.8c, phase: L1}",
        kind="electricity", name="active_energy",
    )  # fmt: skip
    assert (point.x, point.power_factor, point.phase) == (Decimal("0.5"), -0.8, "L1")


def test_x_is_moved_to_the_axis_by_the_error() -> None:
    (absolute,) = points("unit: kg", "{x: 5 kg, error: 2 g, U: 1 g, k: 2}", more="x_is: indication,")
    assert absolute.x == Decimal("4.998")
    (relative,) = points(
        "unit: kg, error: relative, axis: indication", "{x: 5 kg, error: 2 %, U: 1 %, k: 2}", more="x_is: reference,"
    )
    assert relative.x == Decimal("5.1")
    (third,) = points("unit: kg, error: relative", "{x: 5 kg, error: 2 %, U: 1 %, k: 2}", more="x_is: indication,")
    assert str(third.x)[:12] == "4.9019607843"


@given(
    x=st.decimals(min_value=Decimal("0.001"), max_value=1000, places=3),
    error=st.decimals(min_value=-1, max_value=1, places=4),
)
def test_moving_x_to_the_indication_and_back_changes_nothing(x: Decimal, error: Decimal) -> None:
    (there,) = points(
        "unit: kg, axis: indication", f"{{x: {x} kg, error: {error} kg, U: 1 g, k: 2}}", more="x_is: reference,"
    )
    (back,) = points(
        "unit: kg, axis: reference", f"{{x: {there.x:f} kg, error: {error} kg, U: 1 g, k: 2}}", more="x_is: indication,"
    )
    assert back.x == x


def test_points_may_be_written_in_any_order() -> None:
    up = points("unit: kg", "{x: 5 kg, error: 1 g, U: 1 g, k: 2}, {x: 10 kg, error: 2 g, U: 1 g, k: 2}")
    down = points("unit: kg", "{x: 10 kg, error: 2 g, U: 1 g, k: 2}, {x: 5 kg, error: 1 g, U: 1 g, k: 2}")
    assert up == down


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("{x: 5 kg, error: 1 g, k: 2}", "points[0].U: is missing"),
        ("{x: 5 kg, error: 1 g, U: 1 g}", "points[0].k: is missing"),
        ("{x: 5 kg, U: 1 g, k: 2}", "points[0]: needs exactly one of error and correction (correction = -error)"),
        (
            "{x: 5 kg, error: 1 g, correction: 1 g, U: 1 g, k: 2}",
            "points[0]: needs exactly one of error and correction (correction = -error)",
        ),
        ("{x: 5 L, error: 1 g, U: 1 g, k: 2}", "points[0].x: L is volume, kg is mass"),
        ("{x: 5 kg, error: 1 %, U: 1 g, k: 2}", "points[0].error: % is ratio, kg is mass"),
        (
            "{x: 5 kg, error: 1 g, U: 1 g, k: 2}, {x: 5000 g, error: 2 g, U: 1 g, k: 2}",
            "points[1].x: is the x of points[0] again, under the same condition",
        ),
        (
            "{error: 1 g, U: 1 g, k: 2}, {x: 5 kg, error: 2 g, U: 1 g, k: 2}",
            "points[0].x: is missing; only a single point of its condition needs none",
        ),
        ("{x: '1,5 kg', error: 1 g, U: 1 g, k: 2}", ("points[0].x: '1,5 kg' has a comma; write a decimal point and no"
         " thousands separator, such as 1.5 kg")),
    ],
)  # fmt: skip
def test_a_certificate_that_cannot_be_a_baseline_is_refused(written: str, wanted: str) -> None:
    (found,) = mistakes(certified("unit: kg", written))
    assert found == f"devices.yaml:3: certificates[0].{wanted}"


def test_one_x_under_two_conditions_is_two_points() -> None:
    found = points(
        "unit: kWh", "{x: 5 A, error: 1 %, U: 1 %, k: 2}, {x: 5 A, error: 2 %, U: 1 %, k: 2, power_factor: 0.5i}",
        kind="electricity", name="active_energy",
    )  # fmt: skip
    assert len(found) == 2


def test_a_validity_of_months_ends_in_the_same_month_day_or_the_last() -> None:
    text = """
        devices: [{id: d, kind: weighing}]
        certificates: [{id: c, device: d, performed_at: 2026-08-31, interval_months: 18}]
        """
    (found,) = registry(text).certificates
    assert found.valid_to is not None
    assert format_instant(found.valid_to) == "2028-02-28T17:00:00Z"
    assert (found.channel, found.points) == (None, ())


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("valid_to: 2026-01-01", "valid_to: 2026-01-01 is not after performed_at 2026-03-02"),
        ("valid_to: 2027-01-01, interval_months: 12", "give valid_to or interval_months, not both"),
        ("channel: mass", "channel: device d has no channel mass; it has none"),
        ("phase: before", "phase: 'before' is not one of as_found, as_left"),
    ],
)
def test_dates_and_names_of_a_certificate_must_fit(written: str, words: str) -> None:
    (found,) = mistakes(
        "devices: [{id: d, kind: weighing}]\n"
        f"certificates: [{{id: c, device: d, performed_at: 2026-03-02, {written}}}]"
    )
    assert found.startswith("devices.yaml:2: certificates[0]")
    assert words in found


def test_what_names_an_unknown_device_is_refused_unless_the_device_is_known() -> None:
    text = "events: [{device: d, time: 2026-03-02, kind: repair}]"
    assert mistakes(text) == ["devices.yaml:1: events[0].device: device d is not known; add it under devices"]
    found = registry(text, known=specs("devices: [{id: d, kind: weighing}]"))
    assert [e.device for e in found.events] == ["d"]


def test_a_device_with_a_mistake_is_not_also_called_unknown() -> None:
    found = mistakes("""\
        devices: [{id: d, kind: wagging}]
        events: [{device: d, time: 2026-03-02, kind: repair}]
        """)
    assert len(found) == 1
    assert "kind" in found[0]


def test_a_device_given_twice_is_refused_with_both_places() -> None:
    both = specs("devices: [{id: d, kind: weighing}]", "a.yaml") + specs("devices: [{id: d, kind: weighing}]", "b.yaml")
    with pytest.raises(Mistakes) as caught:
        build(both, zone=ZONE, packs=RulePacks())
    assert str(caught.value) == "b.yaml:1: devices[0].id: device d is already in a.yaml:1; ids are unique"


def test_a_certificate_repeated_is_one_and_contradicted_is_refused() -> None:
    one = "{id: c, device: d, performed_at: 2026-03-02}"
    other = "{id: c, device: d, performed_at: 2026-03-03}"
    found = "{id: c, device: d, performed_at: 2026-03-03, phase: as_found}"
    text = "devices: [{{id: d, kind: weighing}}]\ncertificates: [{}]"
    assert len(registry(text.format(f"{one}, {one}, {found}")).certificates) == 2
    assert mistakes(text.format(f"{one}, {other}")) == [
        (
            "devices.yaml:2: certificates[1].id: certificate c (as_left) is already in devices.yaml:2 with "
            "other content; a certificate never changes"
        )
    ]


def test_applying_again_what_is_known_changes_nothing() -> None:
    assert registry(CONTRACT, known=specs(CONTRACT)) == registry(CONTRACT)


def test_without_a_rule_pack_only_d_is_a_parameter() -> None:
    found = mistakes("devices: [{id: d, kind: weighing, parameters: {class: III, d: 5 g}}]")
    assert found == ["devices.yaml:1: devices[0].parameters.class: unknown key; without a rule pack only d is read"]


@given(st.recursive(st.text(max_size=12), lambda t: st.lists(t, max_size=3) | st.dictionaries(
    st.sampled_from(["id", "kind", "channels", "mass", "unit", "drift", "points", "x", "range", "device", "U"])
    | st.text(max_size=4), t, max_size=4), max_leaves=12))  # fmt: skip
def test_no_tree_of_texts_raises_anything_but_mistakes(tree: object) -> None:
    text = orjson.dumps({"devices": [tree], "certificates": tree, "events": [tree, tree]}).decode()
    with suppress(Mistakes):
        registry(text)


@given(place=st.integers(0, len(CONTRACT) - 1), cut=st.integers(0, 3), put=st.text("{}[]:,-&*!'\"\n 0kg~%", max_size=3))
def test_no_slip_of_the_pen_raises_anything_but_mistakes(place: int, cut: int, put: str) -> None:
    with suppress(Mistakes):
        registry(CONTRACT[:place] + put + CONTRACT[place + cut :])
