"""The leaky bucket: bursts, waiting, and that idle keys cost nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.core.rates import Rate

SECOND_US = 1_000_000


def test_a_burst_and_then_as_often_as_allowed() -> None:
    rate = Rate(per_second=10, burst=5)
    assert [rate.take("a", 0) for _ in range(5)] == [0] * 5
    assert rate.take("a", 0) == 100_000
    assert rate.take("a", 99_999) == 1
    assert rate.take("a", 100_000) == 0
    assert rate.take("a", 100_000) == 100_000
    assert rate.take("b", 100_000) == 0, "each key has its own"


def test_looking_costs_nothing() -> None:
    rate = Rate(per_second=1, burst=1)
    assert [rate.wait_us("a", 7) for _ in range(3)] == [0, 0, 0]
    assert rate.take("a", 7) == 0
    assert rate.wait_us("a", 7) == SECOND_US


def test_what_is_given_back_can_be_taken_again() -> None:
    rate = Rate(per_second=1, burst=2)
    assert [rate.take("a", 7) for _ in range(2)] == [0, 0]
    rate.give_back("a")
    rate.give_back("b")
    assert rate.take("a", 7) == 0
    assert rate.take("a", 7) > 0


def test_what_is_added_is_waited_for_afterwards() -> None:
    rate = Rate(per_second=1, burst=2)
    assert rate.take("a", 7) == 0
    rate.add("a", 3, 7)
    assert rate.take("a", 7) == 3 * SECOND_US
    assert rate.take("a", 7 + 3 * SECOND_US) == 0


def test_a_clock_that_steps_back_gives_no_more_than_a_burst() -> None:
    rate = Rate(per_second=1, burst=2)
    assert [rate.take("a", 10 * SECOND_US) for _ in range(2)] == [0, 0]
    assert rate.take("a", 0) > 0


def test_keys_at_rest_are_forgotten() -> None:
    rate = Rate(per_second=1, burst=1)
    for number in range(100_000):
        assert rate.take(str(number), number * SECOND_US // 100) == 0
    assert rate.keys < 3_000


@given(
    st.lists(st.integers(0, 300_000), min_size=1, max_size=60),
    st.sampled_from([1.0, 3.0, 10.0]),
    st.integers(1, 8),
)
def test_in_no_span_more_than_burst_and_rate(
    steps: list[int], per_second: float, burst: int
) -> None:
    rate, now_us, taken = Rate(per_second, burst), 0, []
    for step in steps:
        now_us += step
        wait_us = rate.take("a", now_us)
        if wait_us:
            assert Rate.wait_us(rate, "a", now_us + wait_us) == 0, "the hint is right"
        else:
            taken.append(now_us)
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            span_s = (taken[last] - taken[first]) / SECOND_US
            # Microseconds are whole, so a little may be rounded away with each one.
            assert last - first + 1 <= burst + span_s * per_second + 0.01


@pytest.mark.parametrize("burst", [1, 7])
def test_after_a_rest_the_whole_burst_is_there_again(burst: int) -> None:
    rate = Rate(per_second=2, burst=burst)
    for begin_us in (0, 100 * SECOND_US):
        assert [rate.take("a", begin_us) for _ in range(burst)] == [0] * burst
        assert rate.take("a", begin_us) > 0
