"""States as bytes: exact, short, and those of version 7 are read on (`gateway.pipeline.state`)."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alarms.conditions import CONDITION_DTYPE
from gateway.drift.charts import chart_dtype, detectors
from gateway.drift.dependence import DEPENDENCE
from gateway.drift.influence import INFLUENCE
from gateway.drift.trend import TREND
from gateway.ledger import states as rows
from gateway.pipeline import state
from gateway.pipeline.judge import verdict_dtype
from gateway.pipeline.layout import WORD
from gateway.pipeline.state import (
    STATE_VERSION,
    States,
    dump,
    dump_together,
    fresh,
    load,
    load_together,
    state_dtype,
)
from tests.pipeline.centre import certificate, check, feed, ingest_in, plan_of, scale

WIDTH = state_dtype().itemsize // WORD
NAN = 0x7FF8_0000_0000_0000
ODD = (0, 1, 1 << 63, NAN, NAN | 0xBEEF, 0xFFF0_0000_0000_0001, 2**64 - 1)
"""Words that floats would not keep apart: 0.0, -0.0, quiet and signalling NaN with payloads."""

CERTIFIED = (
    "c-muUVBl0<^n;s0g8>5igG*GV{}*;(WPkyPd~O}Tq`mKSA9biG6O@MOL#QVJ8ZbmO(5%vRmU;ci%xXVG>_<HVjA0A{n^_%DwZjz*BLEAMKPx"
    "|8@=XfZ51|w6A+*DO9cU1}uwQb2A79V@{yVcuqLsw$pNYtxd}_aCzw3UjtGv3Z_E*lb|2g3$Z$C@qn|yroXFHd*N2Wiy{ml*>d&i|M4>Qrw6"
    "AIdBG35g1-+!alet6EK{a;o#fBXOcz5U>ik!*&_Xl@Kq0D%itD*"
)
SELF_STARTING = (
    "c-muUVBl0<^n;s0g8>4Tak;6MGKn}aGQa>tKDUlv(%yHvk2+KoCJ)ocq~|R2`jMH|{yoiHSDOEE+UKvW<u%I*wTFqrjB8*(2O4NrB^reqXst"
    "}Phlu^CXMi!fyFIq-Sa;1HRXbb(1EU<nFafY2`LpulCEp|m`y_CXINR&xEoR)q8npjNzhSwqV!Zv8=ULj{rqA8qxk<_3yQ`!<(;ikK5&H-Gt"
    "$B~$4pLCFUw5f#&*4ex_7X3cr!%_!whQ^w60s<P*`8MJPP<<sf9%3{H1j`T*thLUEJttB1^XY{&Q|v>d~g4%Ai*_P{H6WijS)!FWMHWC*`3d"
    "YCg<V+qu<-c6y4F(-GAUlh2{1$!uF69`;9<&fcU890|22)bk6"
)
SILENT = "c-muUfPe-D6!4>-0SEXG1q|eZ1|k)}oB($UE;r$J>nIonv;_cbuMpD"
"""States of version 7 after 40 daily checks, against a certificate and with a self-starting chart, and before any."""


def version_7(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))


def packed_dtype() -> np.dtype[Any]:
    """Return how version 7 laid fields out: one after the other, optional charts last."""
    usual, optional = ([d for d in detectors() if d.optional is some] for some in (False, True))
    parts = (state._JUDGED, INFLUENCE, DEPENDENCE, CONDITION_DTYPE, chart_dtype((*usual, TREND)), chart_dtype(optional))
    return np.dtype([(name, part[name]) for part in parts for name in part.names or ()])


def as_version_7(states: States) -> list[bytes]:
    old = np.zeros(len(states), packed_dtype())
    for name in old.dtype.names or ():
        old[name] = states[name]
    return [b"\7" + row.tobytes() for row in old]


words = st.one_of(st.sampled_from(ODD), st.integers(0, 2**64 - 1))


@st.composite
def any_states(draw: st.DrawFn) -> States:
    """Return fresh states with any words in some places."""
    found = fresh(draw(st.integers(0, 4)))
    whole: npt.NDArray[np.uint64] = found.view(np.uint64).reshape(len(found), WIDTH)
    places = st.tuples(st.integers(0, WIDTH - 1), words)
    for row in whole:
        for place, word in draw(st.lists(places, max_size=12)):
            row[place] = word
    return found


@given(any_states())
def test_a_state_comes_back_bit_for_bit(states: States) -> None:
    blobs = dump(states)
    assert load(blobs).tobytes() == states.tobytes()
    assert [dump(load([b])) for b in blobs] == [[b] for b in blobs]
    assert all(b[0] == STATE_VERSION for b in blobs)


def test_a_fresh_state_says_only_what_it_is() -> None:
    assert [len(b) for b in dump(fresh(2))] == [3 * WORD] * 2


@given(any_states(), st.data())
def test_what_is_damaged_is_refused_or_another_state(states: States, data: st.DataObject) -> None:
    states = np.append(states, fresh(1))
    blob = bytearray(dump(states)[0])
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    try:
        found = load([bytes(blob)])
    except ValueError:
        return
    assert place >= WORD
    assert load(dump(found)).tobytes() == found.tobytes()
    assert found.tobytes() != states[:1].tobytes()


@given(any_states())
def test_states_come_back_together_bit_for_bit(states: States) -> None:
    assert load_together(dump_together(states), len(states)).tobytes() == states.tobytes()


@given(any_states(), st.data())
def test_states_together_that_are_damaged_are_refused_or_others(states: States, data: st.DataObject) -> None:
    states = np.append(states, fresh(1))
    whole = dump_together(states)
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[place] ^= data.draw(st.integers(1, 255))
    for damaged, n in ((bytes(flipped), len(states)), (whole[:place], len(states)), (whole, len(states) + 1)):
        try:
            found = load_together(damaged, n)
        except ValueError:
            continue
        assert damaged == bytes(flipped) or len(whole) == len(dump_together(fresh(1)))
        assert found.tobytes() != states.tobytes() or n != len(states)


def damages() -> dict[str, bytes]:
    states = fresh(1)
    states["checks"], states["error"] = 3, 0.5
    whole = dump(states)[0]
    bare = dump(fresh(1))[0]
    return {
        "nothing": b"",
        "version": bytes([STATE_VERSION + 1]) + whole[1:],
        "only a version": whole[:1],
        "other fields": whole[:1] + bytes(WORD - 1) + whole[WORD:],
        "cut in the bitmap": whole[: 2 * WORD],
        "cut in a word": whole[:-1],
        "a word less": whole[:-WORD],
        "a word more": whole + bytes(WORD),
        "a place beyond the last": bare[:-1] + b"\1" + bytes(WORD),
        "a word that says nothing": bare[:WORD] + b"\x80" + bare[WORD + 1 :] + fresh(1).tobytes()[:WORD],
        "version 7, cut": version_7(CERTIFIED)[:-1],
        "version 7, longer": version_7(SELF_STARTING) + b"\0",
    }


@pytest.mark.parametrize("damage", damages())
def test_damaged_bytes_and_other_versions_are_refused(damage: str) -> None:
    with pytest.raises(ValueError, match="another version, or damaged"):
        load([dump(fresh(1))[0], damages()[damage]])


def test_states_of_version_7_are_read_as_they_were() -> None:
    old = [version_7(text) for text in (CERTIFIED, SELF_STARTING, SILENT)]
    states = load(old)
    packed = as_version_7(states)
    assert [new[: len(b)] for new, b in zip(packed, old, strict=True)] == old
    assert states[2:].tobytes() == fresh(1).tobytes()
    assert states["value"][:2].tolist() == [4.9996, 5.0024]
    assert states["time"][:2].tolist() == [39 * 86_400 * 10**9] * 2
    assert states["sigma"].tolist() == [0.0, 0.0013075378282917068, 0.0]
    assert states["mode"].tolist() == [1, 2, 0]
    assert states["rho_last"][0].tolist() == [0.002, -0.0005, -0.00039999999999999996]
    assert states["cusum_upper"].tolist() == [0.0, 1.4884701946993686, 0.0]
    assert states["self_starting_n"].tolist() == [0.0, 40.0, 0.0]
    assert load(dump(states)).tobytes() == states.tobytes()
    both = [old[1], dump(states)[0]]
    assert load(both).tobytes() == states[[1, 0]].tobytes()


@given(any_states())
def test_version_7_keeps_every_bit(states: States) -> None:
    states["spare"] = np.void(bytes(2))
    assert load(as_version_7(states)).tobytes() == states.tobytes()


def test_a_ledger_of_version_7_is_gone_on_with_and_not_judged_again(tmp_path: Path) -> None:
    plan = plan_of([scale("a"), scale("b", sigma=None), scale("c")], [certificate("a")])
    life = [check(name, day, 5.0 + 0.001 * (day % 5)) for day in range(50) for name in "ab"]
    whole = ingest_in(tmp_path / "whole", plan)
    feed(whole, life)
    ingest = ingest_in(tmp_path / "cut", plan)
    feed(ingest, life[:70])
    with ingest.ledger.transaction() as connection:
        for number, blob in zip(ingest.ids.tolist(), as_version_7(ingest.states), strict=True):
            connection.execute("UPDATE state SET state = ? WHERE channel = ?", (blob, number))
    ingest.ledger.close()
    ingest = ingest_in(tmp_path / "cut", plan)
    assert not ingest.stale
    feed(ingest, life[70:])
    assert ingest.states.tobytes() == whole.states.tobytes()
    ingest.ledger.close()
    whole.ledger.close()


def test_one_unreadable_state_leaves_the_others_standing(tmp_path: Path) -> None:
    plan = plan_of([scale("a"), scale("b"), scale("c")])
    ingest = ingest_in(tmp_path, plan)
    feed(ingest, [check(name, day, 5.001) for day in range(3) for name in "abc"])
    with ingest.ledger.transaction() as connection:
        connection.execute("UPDATE state SET state = ? WHERE channel = ?", (b"\x08damaged", int(ingest.ids[1])))
        standing = rows.standing(connection, plan)
    assert set(standing.stale) == {1}
    assert standing.states[[0, 2]].tobytes() == ingest.states[[0, 2]].tobytes()
    assert standing.states[1:2].tobytes() == fresh(1).tobytes()
    ingest.ledger.close()


@pytest.mark.parametrize("dtype", [state_dtype(), verdict_dtype(), verdict_dtype(optional=True)])
def test_every_number_lies_where_the_processor_reads_it_at_once(dtype: np.dtype[Any]) -> None:
    assert dtype.itemsize % WORD == 0
    for name, (code, offset, *_) in (dtype.fields or {}).items():
        assert code.base.kind == "V" or offset % code.base.itemsize == 0, name
    assert sum(code.itemsize for code, *_ in (dtype.fields or {}).values()) == dtype.itemsize


def test_a_verdict_without_optional_charts_is_the_first_part_of_one_with_them() -> None:
    narrow, wide = verdict_dtype(), verdict_dtype(optional=True)
    assert narrow.names == (wide.names or ())[: len(narrow.names or ())]
    assert all(wide.fields[n] == field for n, field in narrow.fields.items())  # type: ignore[index,union-attr]
