"""What makes two readings the same reading, one by one and many at once (CONTRACTS §3, duplicate)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.metrology.readings import Reading
from gateway.pipeline.columns import Columns
from gateway.pipeline.intake import Intake, fresh_seen, receive, settle, without_repeats
from tests.pipeline.centre import two_scales

PLAN = two_scales()
SOME = st.sampled_from

readings = st.builds(
    Reading,
    device=SOME(["a", "b"]),
    channel=st.just("mass"),
    unit=st.just("kg"),
    time=SOME([1, 2]),
    value=SOME([0.0, -0.0, 5.0]),
    reference=SOME([None, 0.0]),
    boot=SOME([None, "", "b1"]),
    seq=SOME([None, 0, 1]),
    stable=SOME([None, False]),
    standard=SOME([None, "b"]),
    phase=SOME([None, ""]),
    evidence=SOME([None, "zero"]),
)


def columns_of(some: list[Reading]) -> Columns:
    return receive(PLAN, fresh_seen(len(PLAN)), some, None).columns


@given(st.lists(readings, min_size=2, max_size=8))
def test_many_readings_compare_as_they_do_one_by_one(some: list[Reading]) -> None:
    columns = columns_of(some)
    one_by_one = [(int(columns.channel[i]), columns.boot[i], columns.order_key(i)) for i in range(len(columns))]
    at_once = columns.identities()
    for i, key in enumerate(one_by_one):
        assert [at_once[j] == at_once[i] for j in range(len(columns))] == [other == key for other in one_by_one]


@given(st.lists(readings, max_size=6), st.lists(readings, max_size=6), st.integers(0, 6))
def test_what_is_left_out_at_once_is_what_would_be_found_one_by_one(
    before: list[Reading], now: list[Reading], met: int
) -> None:
    seen = fresh_seen(len(PLAN))
    settled = settle(receive(PLAN, seen, before, None), seen, [], None)
    stored, seen = settled.columns, settled.seen
    intake = receive(PLAN, seen, now, None)
    left = without_repeats(intake, stored.take(slice(0, met)))
    slow, fast = (
        settle(i, seen, [answer(stored, i, n) for n in range(len(i.questions()))], None) for i in (intake, left)
    )
    assert fast.columns.identities() == slow.columns.identities()
    assert (fast.duplicates, len(fast.refused)) == (slow.duplicates, len(slow.refused))


def answer(stored: Columns, intake: Intake, n: int) -> Columns:
    """Return what the ledger would answer: the stored readings of that moment, or of that (boot, seq)."""
    q = intake.questions()[n]
    rows = [
        i
        for i in range(len(stored))
        if stored.channel[i] == q.channel
        and (
            stored.time[i] == q.time
            or (q.boot is not None and q.seq >= 0 and (stored.boot[i], stored.seq[i]) == (q.boot, q.seq))
        )
    ]
    return stored.take(rows)
