"""However much is asked to be planned and explained, a scheduler has time left to decide."""

from __future__ import annotations

import asyncio

import pytest

from fogbank.domain.explanations import DeploymentPlan, Explanation
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import Writer
from services.scheduler import app
from services.scheduler.app import Scheduler
from tests.simulation.loop import VirtualLoop, run_virtually
from tests.simulation.world import SimClock
from tests.support.fleet_log import a_spec
from tests.support.schedulers import NoMeter

PLANS = 6


class WorkingClock(SimClock):
    """Goes on with the loop, and with work."""

    worked_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.worked_s


def test_plans_take_a_third_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(loop: VirtualLoop) -> float:
        clock = WorkingClock(loop)

        def plan(*_: object) -> DeploymentPlan:
            clock.worked_s += 1
            return DeploymentPlan("", 0, (), (), Explanation())

        monkeypatch.setattr(app, "plan", plan)
        log = MemoryLog(MemoryStore(), Writer("scheduler", "one"))
        scheduler = Scheduler(log, clock, NoMeter())
        began_s = loop.time()
        await asyncio.gather(*(scheduler.plan(a_spec()) for _ in range(PLANS)))
        return loop.time() - began_s

    left_s = run_virtually(asked)
    assert left_s == pytest.approx(2 * (PLANS - 1)), "for each second of work two others"
