"""Which loads are logged."""

import pytest

from services.gateway.core.load_steps import SHORTEST_PAUSE_US, LoggedLoad, next_load

LOGGED = LoggedLoad(50, 50, 1_000)
LATER = 1_000 + SHORTEST_PAUSE_US


@pytest.mark.parametrize(
    ("cpu", "memory", "logged"),
    [
        (50, 50, None),
        (59.4, 50, None),
        (40.6, 59.4, None),
        (60, 50, (60, 50)),
        (50, 39.9, (50, 40)),
        (59.6, 51, (60, 51)),
        (150, 50, (100, 50)),
        (-3, 50, (0, 50)),
    ],
)
def test_a_load_is_logged_when_it_moved_by_a_step(
    cpu: float, memory: float, logged: tuple[int, int] | None
) -> None:
    step = next_load(LOGGED, cpu, memory, LATER)

    assert (step and (step.cpu_percent, step.memory_percent)) == logged


def test_a_load_is_not_logged_too_often() -> None:
    assert next_load(LOGGED, 90, 50, LATER - 1) is None
    step = next_load(LOGGED, 90, 50, LATER)
    assert step is not None
    assert step.logged_at_us == LATER


def test_a_load_that_swings_about_a_bound_is_logged_once() -> None:
    logged, lines = LoggedLoad(), 0
    for beat in range(20):
        step = next_load(logged, 89 if beat % 2 else 91, 0, (beat + 1) * SHORTEST_PAUSE_US)
        if step is not None:
            logged, lines = step, lines + 1

    assert lines == 1


def test_a_clock_that_was_set_back_does_not_silence_a_node() -> None:
    assert next_load(LoggedLoad(0, 0, 10**15), 50, 0, 10**9) is not None
