"""Answers of InfluxDB, of proxies and of nobody: what each means (RELIABILITY §1.3)."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.history.delivery import LINES, Delivery
from gateway.history.influx_wire import RETRY_AFTER_MAX_S, Answer, Outcome, backoff, read_answer, retry_after


def said(status: int, body: object = None, headers: dict[str, str] | None = None) -> Answer:
    return read_answer(status, headers or {}, b"" if body is None else json.dumps(body).encode(), 1_700_000_000.0)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (204, None, Outcome.STORED),
        (400, {"code": "invalid", "message": "unable to parse 'x': missing fields"}, Outcome.REFUSED),
        (400, None, Outcome.STRANGE),
        (422, {"code": "unprocessable entity", "message": "partial write: … dropped=3"}, Outcome.REFUSED),
        (401, {"code": "unauthorized", "message": "unauthorized access"}, Outcome.HELD),
        (403, {"code": "forbidden", "message": "insufficient permissions for write"}, Outcome.HELD),
        (404, {"code": "not found", "message": 'bucket "x" not found'}, Outcome.HELD),
        (405, None, Outcome.HELD),
        (413, {"code": "request too large", "message": "too large"}, Outcome.TOO_LARGE),
        (408, None, Outcome.LATER),
        (429, {"code": "too many requests", "message": "over quota"}, Outcome.LATER),
        (499, None, Outcome.LATER),
        (500, {"code": "internal error", "message": "cache-max-memory-size exceeded"}, Outcome.LATER),
        (502, None, Outcome.LATER),
        (503, None, Outcome.LATER),
        (504, None, Outcome.LATER),
        (200, {"ok": True}, Outcome.STRANGE),
        (202, None, Outcome.STRANGE),
        (302, None, Outcome.STRANGE),
        (307, {"message": "moved"}, Outcome.STRANGE),
    ],
)
def test_each_status_has_its_meaning(status: int, body: object, outcome: Outcome) -> None:
    assert said(status, body).outcome is outcome


def test_the_words_are_those_of_influxdb_on_one_line() -> None:
    answer = said(422, {"code": "x", "message": "partial write: field type conflict\n dropped=2"})
    assert answer.words == "422 partial write: field type conflict dropped=2"
    assert answer.dropped == 2


def test_a_login_page_is_shown_by_its_beginning() -> None:
    answer = read_answer(200, {}, b"<html>\n  <title>Log in</title>" + b"x" * 10_000, 0.0)
    assert answer.words.startswith("200 <html> <title>Log in</title>")
    assert len(answer.words) <= 500


@given(status=st.integers(100, 599), body=st.binary(max_size=60), retry=st.text(max_size=20))
def test_only_204_is_success_and_nothing_raises(status: int, body: bytes, retry: str) -> None:
    answer = read_answer(status, {"Retry-After": retry}, body, 0.0)
    assert (answer.outcome is Outcome.STORED) == (status == 204)
    assert answer.words.isprintable()


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("5", 5.0), ("0", 0.0), ("-3", 0.0), ("1e9", RETRY_AFTER_MAX_S), ("inf", RETRY_AFTER_MAX_S), ("nan", None),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0), ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0), ("soon", None), ("", None),
    ],
)  # fmt: skip
def test_retry_after_in_seconds_as_date_and_as_garbage(text: str, wait: float | None) -> None:
    assert retry_after(text, 1_700_000_000.0) == wait


@given(st.text(max_size=80))
@example("Fri, 31 Dec 99999 23:59:59 GMT")
def test_no_retry_after_waits_longer_than_five_minutes(text: str) -> None:
    wait = retry_after(text, 0.0)
    assert wait is None or 0.0 <= wait <= RETRY_AFTER_MAX_S


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_backoff_grows_to_thirty_seconds_and_no_further(attempt: int, chance: float) -> None:
    wait = backoff(attempt, chance)
    assert 0.0 <= wait < 30.0
    assert wait <= 0.5 * 2.0 ** min(attempt, 10)


STORED = Answer(outcome=Outcome.STORED, words="204")
BAD = Answer(outcome=Outcome.REFUSED, words="400 bad line")


@given(st.integers(1, LINES), st.data())
def test_culprits_are_found_in_few_requests_and_the_rest_is_stored(n: int, data: st.DataObject) -> None:
    bad = set(data.draw(st.lists(st.integers(0, n - 1), max_size=6)))
    way = Delivery(size=n)
    stored: set[int] = set()
    requests = 0
    while way.piece is not None:
        a, b = way.piece
        requests += 1
        if bad.isdisjoint(range(a, b)):
            stored |= set(range(a, b))
            assert way.take(STORED)
        else:
            assert way.take(BAD)
    assert {i for i, _ in way.refused} == bad
    assert stored == set(range(n)) - bad
    assert requests <= 2 * len(bad) * math.ceil(math.log2(max(n, 2))) + 1


def test_a_parcel_beyond_retention_is_refused_by_one_answer() -> None:
    way = Delivery(size=4000)
    way.take(Answer(outcome=Outcome.REFUSED, words="422 beyond retention dropped=4000", dropped=4000))
    assert way.piece is None
    assert len(way.refused) == 4000


def test_a_line_too_large_by_itself_is_refused() -> None:
    way = Delivery(size=2)
    large = Answer(outcome=Outcome.TOO_LARGE, words="413")
    for answer in (large, large, STORED):
        assert way.take(answer)
    assert way.refused == [(0, "413")]
    assert way.piece is None


@pytest.mark.parametrize("outcome", [Outcome.LATER, Outcome.HELD, Outcome.STRANGE])
def test_the_same_piece_comes_again_until_it_is_answered(outcome: Outcome) -> None:
    way = Delivery(size=3)
    for attempt in range(50):
        assert not way.take(Answer(outcome=outcome, words=""))
        assert way.piece == (0, 3)
        assert way.attempt == attempt + 1
    way.take(STORED)
    assert way.piece is None
