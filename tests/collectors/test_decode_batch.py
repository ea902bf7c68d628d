"""Messages read together say what they say alone, whatever stands beside them."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors import Message
from collectors.decoders import Decoded
from collectors.decoders.strictjson import MAX_BYTES
from collectors.profiles import read_profiles
from collectors.topics import TOGETHER, Router
from gateway.metrology.readings import Why

SUITE = Path(__file__).with_name("json_test_suite.json")
"""Of nst/JSONTestSuite (MIT): payloads that are no JSON, or hardly."""
GOOD = [
    b'{"ts":1772409600000,"value":10.01,"unit":"kg"}',
    b'{"ts":1772409600000.125,"value":10.01,"unit":"kg","reference":10,"reference_u":0.0004,"seq":7,"boot":"b"}',
    b'{"unit":"kg","value":1e3,"ts":"2026-03-02T00:00:00+07:00"}',
    b'{"ts":1772409600000.5,"value":1,"unit":"kg"}',
    b'{"ts":1772409600000,"value":1,"unit":"kg","phase":"},{"}',
    b'{"ts":1772409600000,"value":1,"unit":"kg","boot":17,"phase":"null","standard":"std-1"}',
    b'{"ts":1772409600000,"value":1,"unit":"kg","reference":null,"power_factor":"0.8c","channel":"mass"}',
    '{"ts":1772409600000,"value":1,"unit":"kg","boot":"đo"}'.encode(),
]
HARD = [
    b'{"ts":1,"value":1,"unit":"kg"},{"ts":2,"value":2,"unit":"kg"}',
    b'{"ts":1,"value":1,"unit":"kg"},\r{"ts":2,"value":2,"unit":"kg"}',
    b'{"ts":"},\r{","value":1,"unit":"kg"}',
    b'{"ts":1,"value":1,"unit":"},\r{"}',
    b'{"ts":1,\r"value":1,"unit":"kg"}',
    b'{"ts":1',
    b'"value":1,"unit":"kg"}',
    b'{"ts":1772409600000.1234567,"value":1,"unit":"kg"}',
    b'{"ts":"1,2","value":1,"unit":"kg"}',
    b'{"ts":-0.5,"value":1,"unit":"kg"}',
    b'{"ts":1e3,"value":1,"unit":"kg"}',
    b'{"ts":1,"value":1,"unit":"}',
    b'{","value":1,"unit":"kg","ts":1}',
    b'{"ts":[{}',
    b'{}],"value":1,"unit":"kg"}',
    b'{"ts":1,"ts":2,"value":1,"unit":"kg"}',
    b'{"ts":1,"value":1,"unit":"kg","phase":null,"phase":"a"}',
    b'{"ts":1,"value":1,"unit":"k\\u0067"}',
    b'[{"ts":1,"value":1,"unit":"kg"},{"ts":2,"value":2,"unit":"kg"}]',
    b'{"ts":1,"value":1,"unit":"kg"',
    b'"unit":"kg"}',
    b'{"ts":1,"value":"1","unit":"kg"}',
    b'{"ts":1,"value":1,"unit":"kg","device":"other"}',
    b'{"ts":1,"value":1,"unit":"kg"} ',
    b'{"ts":1,"value":1,"unit":"kg","\xff":1}',
    b'{"ts":' + 5_000 * b"[" + 5_000 * b"]" + b',"value":1,"unit":"kg"}',
    b"{}",
    b"",
    b"}",
    b"{",
]
TOPICS = [f"metergate/reading/s/d{n}/mass" for n in range(3)] + ["metergate/reading/other/d/mass", "no/such/topic"]


def router() -> Router:
    return Router([], read_profiles(()), site="s")


def alone(messages: Sequence[Message]) -> Decoded:
    fresh = router()
    said = [fresh.decode(m.topic, m.payload, i, m.received_at) for i, m in enumerate(messages)]
    return Decoded(readings=[r for d in said for r in d.readings], refused=[r for d in said for r in d.refused])


def together(messages: Sequence[Message], known: bool = True) -> Decoded:
    fresh = router()
    if known:
        for topic in TOPICS:
            fresh.decode(topic, b"", 0, 0)
    said = list(fresh.decode_batch(messages))
    return Decoded(readings=[r for d in said for r in d.readings], refused=[r for d in said for r in d.refused])


def messages_of(payloads: Sequence[bytes], topics: Sequence[str] = TOPICS[:1]) -> list[Message]:
    return [Message(topic=topics[i % len(topics)], payload=p, received_at=9) for i, p in enumerate(payloads)]


payloads = st.lists(st.one_of(st.sampled_from(GOOD), st.sampled_from(GOOD), st.sampled_from(HARD)), max_size=150)


@given(payloads, st.lists(st.sampled_from(TOPICS), min_size=1, max_size=4), st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_batch_says_what_its_messages_say_alone(sent: list[bytes], topics: list[str], known: bool) -> None:
    messages = messages_of(sent, topics)
    assert together(messages, known) == alone(messages)


@given(st.lists(st.sampled_from(HARD), min_size=2, max_size=6), st.sampled_from(GOOD))
@settings(max_examples=500, deadline=None)
def test_nothing_put_between_messages_moves_a_reading_to_another_device(hard: list[bytes], good: bytes) -> None:
    messages = messages_of([hard[0], good, *hard[1:]], TOPICS[:3])
    assert together(messages) == alone(messages)


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("depth", [9, 500, 5_000, 80_000])
def test_a_time_nested_however_deep_is_refused_and_harms_no_other(opening: bytes, depth: int) -> None:
    closing = b"]" if opening == b"[" else b"}"
    deep = b'{"ts":%b1%b,"value":1,"unit":"kg"}' % (opening * depth, closing * depth)
    for payload in (deep, b"[%b]" % deep):
        said = together(messages_of([GOOD[0], payload, GOOD[1]], TOPICS[:3]))
        assert [r.source for r in said.readings] == [0, 2]
        assert [(r.source, r.reason) for r in said.refused] == [
            (1, Why.TOO_LARGE if len(payload) > MAX_BYTES else Why.TOO_DEEP)
        ]


@pytest.mark.parametrize("between", [b",", b",\r"])
def test_two_objects_in_one_message_do_not_make_up_for_one_in_two(between: bytes) -> None:
    messages = messages_of([between.join([GOOD[0], GOOD[0]]), b'{"ts":1', b'"value":1,"unit":"kg"}'], TOPICS[:3])
    said = together(messages)
    assert (said.readings, [r.source for r in said.refused]) == ([], [0, 1, 2])


def test_a_message_too_large_is_refused_among_others() -> None:
    large = b'{"ts":1,"value":1,"unit":"kg"%b}' % (b" " * MAX_BYTES)
    said = together(messages_of([GOOD[0], large, GOOD[1]]))
    assert [r.source for r in said.readings] == [0, 2]
    assert [(r.source, r.reason) for r in said.refused] == [(1, Why.TOO_LARGE)]


def test_good_messages_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = router()
    fresh.decode(TOPICS[0], b"", 0, 0)
    monkeypatch.delattr(Router, "decode")  # reading one by one would fail
    messages = messages_of(GOOD * (2 * TOGETHER // len(GOOD)))
    assert sum(len(d.readings) for d in fresh.decode_batch(messages)) == len(messages)


def test_torture_cases_beside_good_messages_change_nothing() -> None:
    for name, coded in json.loads(SUITE.read_text())["files"].items():
        messages = messages_of([GOOD[0], base64.b64decode(coded), GOOD[1]], TOPICS[:3])
        assert together(messages) == alone(messages), name
