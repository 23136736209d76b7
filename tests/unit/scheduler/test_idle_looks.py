"""How often a scheduler looks for work where there is none."""

from __future__ import annotations

import pytest

from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import Writer
from fogbank.placement import Planner
from services.scheduler.app import Scheduler
from tests.simulation.loop import VirtualLoop, pause, run_virtually
from tests.simulation.world import SimClock
from tests.support.schedulers import NoMeter, run_loops


def test_work_that_leads_to_no_round_does_not_make_it_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []
    monkeypatch.setattr(Planner, "has_work", lambda *_: True)
    monkeypatch.setattr(Planner, "next_look_us", lambda _: 1)
    monkeypatch.setattr(Planner, "decide", lambda _, instant_us, *_rest: looks.append(instant_us))

    async def a_minute(loop: VirtualLoop) -> None:
        log = MemoryLog(MemoryStore(), Writer("scheduler", "one"))
        scheduler = Scheduler(log, SimClock(loop), NoMeter())
        async with run_loops(scheduler.follow, scheduler.decide):
            await pause(60)

    run_virtually(a_minute)
    assert 0 < len(looks) <= 121
