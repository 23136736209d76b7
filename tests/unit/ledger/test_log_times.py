"""Which commit an instant belongs to."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from services.ledger.core.log_times import STRIDE, LogTimes

INSTANTS = st.lists(st.integers(1, 60), min_size=1, max_size=70)


def noted(appended_us: list[int]) -> LogTimes:
    times = LogTimes()
    for sequence, log_time_us in enumerate(accumulate(appended_us, max), 1):
        times.note(sequence, log_time_us)
    return times


@given(INSTANTS, st.integers(0, 70))
def test_the_last_commit_whose_log_time_is_not_later(appended_us: list[int], at_us: int) -> None:
    times, end = noted(appended_us), len(appended_us)
    start = times.last_noted_by(at_us)
    behind = appended_us[start : min(start + STRIDE, end)]
    wanted = sum(log_time_us <= at_us for log_time_us in accumulate(appended_us, max))
    assert times.sequence_by(at_us, start, behind) == wanted


@given(INSTANTS)
def test_log_times_of_sequences(appended_us: list[int]) -> None:
    times = noted(appended_us)
    latest = {
        sequence: max(appended_us[sequence // STRIDE * STRIDE : sequence], default=0)
        for sequence in range(1, len(appended_us) + 1)
    }
    assert list(times.of(latest).values()) == list(accumulate(appended_us, max))
