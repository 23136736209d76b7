"""The alarm about a second copy that lags."""

from __future__ import annotations

import structlog.testing

from services.ledger.app import metrics
from services.ledger.app.lag import LagWatch
from services.ledger.app.ports import Checkpoint
from services.ledger.app.progress import Progress


class Hand:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.now_s


def test_it_warns_once_for_each_episode() -> None:
    progress, clock = Progress(), Hand()
    watch = LagWatch(progress, clock)

    def after(seconds: float) -> list[str]:
        clock.now_s += seconds
        with structlog.testing.capture_logs() as said:
            watch.look()
        return [line["log_level"] for line in said]

    progress.log_reaches(9)
    assert after(60) == []  # nobody has read yet how far the tables are
    progress.advance(Checkpoint(9, b"x"))
    assert after(1) == []
    progress.log_reaches(12)
    assert after(0) == []
    assert after(1.9) == []
    assert after(0.2) == ["warning"]
    assert metrics.LAG_SECONDS._value.get() > 2
    progress.log_reaches(20)
    assert after(5) == []
    progress.advance(Checkpoint(20, b"y"))
    assert after(0.1) == ["info"]
    assert metrics.LAG_SECONDS._value.get() == 0
    progress.log_reaches(21)
    assert after(0) == []
    assert after(3) == ["warning"]


def test_a_busy_ledger_that_keeps_up_is_left_alone() -> None:
    progress, clock = Progress(), Hand()
    watch = LagWatch(progress, clock)
    with structlog.testing.capture_logs() as said:
        for sequence in range(10, 100):
            progress.log_reaches(sequence)
            progress.advance(Checkpoint(sequence - 3, b"x"))
            watch.look()
            clock.now_s += 0.5
    assert said == []
