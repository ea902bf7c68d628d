from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Refused, WrongUse
from gateway.registry.canonical import Action, difference, dump, kind_of, load, refuse_contradictions
from gateway.registry.specs import DeviceSpec, Spec, Specs
from tests.registry.conftest import mistakes, registry, specs
from tests.registry.test_build import CONTRACT

WHOLE = """
    devices:
      - id: e1
        kind: electricity
        rule_pack: iec-62053-21
        parameters: {class: 1, Ib: 5 A, Imax: 60 A, connection: direct}
        in_service: no
        decision: non_binary
        channels:
          active_energy: {unit: kWh, type: register, error: relative, axis: current, sigma: 0.020 %,
            resolution: 1e-2 kWh,
            center: learned, learn: 40, subgroup: 1h, every: 24h, timeout: 36h, range: [0 kWh, 999999 kWh], stuck: 5,
            standard: s1, digits: 6, multiplier: 40, drift: {ewma: {lambda: 0.1, L: 2.814}}}
    certificates:
      - {id: c, device: e1, channel: active_energy, performed_at: 2026-03-02T08:00:00+07:00, valid_to: 2027-03-02,
         x_is: reference, points: [{x: 5 A, correction: -0.1 %, U: 0.05 %, k: 2.0, power_factor: .5i, phase: L1,
         direction: import}]}
"""


def all_specs(found: Specs) -> list[Spec]:
    assert found.mistakes == ()
    return [e.spec for entries in (found.devices, found.certificates, found.events) for e in entries]


@pytest.mark.parametrize("text", [CONTRACT, WHOLE])
def test_what_is_stored_is_read_back_the_same(text: str) -> None:
    for spec in all_specs(specs(text)):
        assert load(kind_of(spec), dump(spec)) == spec
        assert dump(load(kind_of(spec), dump(spec))) == dump(spec)


numbers = st.decimals(min_value=0, max_value=10**6, places=6, allow_nan=False)


@given(
    sigma=numbers.filter(bool),
    learn=st.integers(2, 10_000),
    every=st.integers(1, 10**6),
    range_=st.tuples(numbers, numbers),
    name=st.text(max_size=40),
)
def test_any_device_survives_storage(
    sigma: object, learn: int, every: int, range_: tuple[object, object], name: str
) -> None:
    device = {
        "id": "d",
        "kind": "weighing",
        "name": name,
        "channels": {
            "mass": {
                "unit": "kg",
                "sigma": f"{sigma} g",
                "learn": str(learn),
                "every": f"{every}s",
                "range": [f"{range_[0]} kg", f"{range_[1]} kg"],
            }
        },
    }
    spec = DeviceSpec.model_validate(device)
    assert load("device", dump(spec)) == spec
    assert dump(load("device", dump(spec))) == dump(spec)


def test_equal_values_written_differently_are_equal_bytes() -> None:
    text = "devices: [{{id: d, kind: weighing, channels: {{mass: {{unit: kg, sigma: {}, timeout: {}}}}}}}]"
    one, other = (all_specs(specs(text.format(*v)))[0] for v in (("1.60 g", "36h"), ("16e-1 g", "1d12h")))
    assert dump(one) == dump(other)


def test_bytes_of_another_version_are_refused_in_one_line() -> None:
    with pytest.raises(WrongUse, match="a stored device cannot be read"):
        load("device", b'{"id":"d","kind":"weighing","colour":"red"}')


def test_a_difference_says_what_is_new_changed_and_the_same() -> None:
    old = specs(CONTRACT)
    new = specs(CONTRACT.replace("sigma: 1.6 g", "sigma: 1.8 g"))
    changes = difference(old, new)
    assert [(c.kind, c.id, c.action) for c in changes] == [
        ("device", "scale-07", Action.CHANGED),
        ("certificate", "3681-26 (as_left)", Action.UNCHANGED),
        ("event", "scale-07 adjustment 2026-05-01T08:00:00+07:00 span", Action.UNCHANGED),
    ]
    assert [str(f) for f in changes[0].fields] == ["channels.mass.sigma: 1.6 g -> 1.8 g"]
    assert all(c.action is Action.UNCHANGED for c in difference(old, old))
    assert all(c.action is Action.ADDED for c in difference(Specs(), old))
    twice = [c.action for c in difference(Specs(), Specs(events=old.events + old.events))]
    assert twice == [Action.ADDED, Action.UNCHANGED]


def test_a_known_certificate_never_changes() -> None:
    changes = difference(specs(CONTRACT), specs(CONTRACT.replace("error: 1.2 g", "error: 1.3 g")))
    with pytest.raises(Refused) as caught:
        refuse_contradictions(changes)
    assert str(caught.value) == (
        "certificate 3681-26 (as_left) is known with other content (points[0].error: 1.2 g -> 1.3 g); "
        "a certificate never changes; give the corrected one its own id"
    )
    with pytest.raises(Refused):
        registry(CONTRACT.replace("error: 1.2 g", "error: 1.3 g"), known=specs(CONTRACT))
    refuse_contradictions(difference(specs(CONTRACT), specs(CONTRACT)))


def test_a_device_cannot_change_so_that_a_known_certificate_loses_its_channel() -> None:
    known = Specs.of(all_specs(specs(CONTRACT)))
    changed = "devices: [{id: scale-07, kind: weighing, channels: {zero: {unit: kg}}}]"
    assert mistakes(changed, known=known) == [
        "registry: certificate 3681-26.channel: device scale-07 has no channel mass; it has zero"
    ]
