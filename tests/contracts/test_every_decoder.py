"""What every decoder promises: its examples hold, and no bytes whatever make it raise or lose count."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.decoders import NOWHERE, Address, Decoder, Example, Profile, every, find
from collectors.decoders.jsonpaths import EXAMPLES as JSON_PATH_EXAMPLES
from gateway.metrology.readings import Why

INPUTS = Path(__file__).resolve().parents[2].parent / "shared" / "inputs"
ADDRESS = Address(site="van-giang", device="scale-07", channel="mass")
RECEIVED = 1772409600 * 10**9
DECODERS = list(every().values())
EXAMPLES = [(d, e) for d in DECODERS for e in d.EXAMPLES]
decoders = pytest.mark.parametrize("decoder", DECODERS, ids=lambda d: d.NAME)


def profile_of(decoder: Decoder) -> Profile | None:
    return JSON_PATH_EXAMPLES[0].profile if decoder.NAME == "json-paths" else None


@pytest.mark.parametrize(("decoder", "example"), EXAMPLES, ids=lambda x: getattr(x, "title", None) or x.NAME)
def test_examples_say_what_is_read(decoder: Decoder, example: Example) -> None:
    decoded = decoder.decode(example.payload, example.address, 3, example.profile, RECEIVED)
    assert [r.reason.value for r in decoded.refused] == list(example.refused)
    assert len(decoded.readings) == len(example.readings)
    for reading, found in zip(decoded.readings, example.readings, strict=True):
        assert (reading.channel, reading.value, reading.unit) == (found.channel, found.value, found.unit)
        assert found.time is None or reading.time == found.time
        assert reading.source == 3


def test_decoders_are_found_by_their_names() -> None:
    assert set(every()) == {"canonical", "senml", "json-paths"}
    assert find("no-such") is None


@decoders
@given(payload=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise(decoder: Decoder, payload: bytes) -> None:
    for address in (ADDRESS, NOWHERE, Address()):
        decoded = decoder.decode(payload, address, 0, profile_of(decoder), RECEIVED)
        assert all(r.detail and isinstance(r.reason, Why) for r in decoded.refused)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
keys = st.sampled_from(
    ["ts", "value", "unit", "seq", "boot", "reference", "n", "bn", "v", "vs", "u", "t", "bt", "bver", "ENERGY", "x_"]
)
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=4) | st.dictionaries(keys, t, max_size=6), max_leaves=12)


@decoders
@given(tree=trees)
@settings(max_examples=300, deadline=None)
def test_no_json_raises_and_something_is_always_said(decoder: Decoder, tree: object) -> None:
    payload = json.dumps(tree).encode()
    decoded = decoder.decode(payload, ADDRESS, 0, profile_of(decoder), RECEIVED)
    assert decoded.readings or decoded.refused


@decoders
def test_the_json_test_suite_is_kept(decoder: Decoder) -> None:
    path = INPUTS / "json-test-suite" / "parsing_y_n.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    broken = {Why.NOT_JSON, Why.NOT_UTF8, Why.TOO_DEEP}
    for name, coded in json.loads(path.read_text())["files"].items():
        decoded = decoder.decode(base64.b64decode(coded), ADDRESS, 0, profile_of(decoder), RECEIVED)
        reasons = {r.reason for r in decoded.refused}
        assert bool(reasons & broken) == name.startswith("n_"), name
        assert not reasons & broken or (len(decoded.refused) == 1 and not decoded.readings), name


@decoders
def test_naughty_strings_are_read_or_refused(decoder: Decoder) -> None:
    path = INPUTS / "naughty-strings" / "blns.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    for text in json.loads(path.read_text()):
        for payload in (
            text.encode(errors="surrogatepass"),
            json.dumps({"ts": 1, "value": 1, "unit": text, "phase": text}).encode(),
            json.dumps([{"n": text, "v": 1, "u": text}, {"bn": text}]).encode(),
            json.dumps({"ENERGY": {"Power": {text: 1}}, "Time": text}).encode(),
        ):
            decoded = decoder.decode(payload, ADDRESS, 0, profile_of(decoder), RECEIVED)
            assert all("\n" not in r.detail for r in decoded.refused)


BOMBS = {
    "open": b"[" * 200_000,
    "quotes": b'"' + b'\\"' * 100_000,
    "empty objects": b"[" + b"{}," * 80_000 + b"{}]",
    "digits": b"[" + b"9" * 200_000 + b"]",
    "close": b"]" * 200_000,
    "many keys": b"{" + b",".join(b'"k%d":1' % i for i in range(20_000)) + b"}",
    "unknown fields": b"[" + b",".join(b'{"valu%d":1}' % i for i in range(9_999)) + b"]",
}


@decoders
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_is_refused_in_bounded_time(decoder: Decoder, bomb: bytes) -> None:
    began = time.process_time()
    decoded = decoder.decode(bomb, ADDRESS, 0, profile_of(decoder), RECEIVED)
    assert time.process_time() - began < 1.0
    assert decoded.refused
    assert not decoded.readings
