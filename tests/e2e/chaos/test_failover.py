"""The leading scheduler is killed or frozen under load: the other takes over, and nothing is lost.

A frozen leader wakes with a round in hand that no longer counts. Each system's log is judged at the
end: every deployment placed, none decided twice, every round derived again.

FOG_FAILOVERS is how often each happens in the soak (20).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from statistics import median

import pytest

from tests.support.chaos import (
    ChaosSystem,
    SchedulerView,
    Verdict,
    chaos_system,
    freeze,
    judge,
    new_record,
    thaw,
)
from tests.support.command_load import Record, command_load, delete_all
from tests.support.waiting import eventually_sync

FAILOVERS = int(os.environ.get("FOG_FAILOVERS", "20"))

pytestmark = [pytest.mark.kill, pytest.mark.xdist_group("chaos")]

Report = Callable[[str, object], None]

# On a machine that does nothing else.
TAKEOVER_S = 3.0
LONGER_THAN_EVERY_LEASE_S = 4.0
PAIR = ("scheduler-1", "scheduler-2")
# Slow enough that there is work for each leader.
PACE_S = 0.1
COMMANDS_EACH = 90
EARLY = 0.2


class Leaders:
    """Two schedulers, and how long the fleet was without a deciding one, in seconds."""

    def __init__(self, system: ChaosSystem) -> None:
        self._system = system
        self._views = {name: SchedulerView.of(system, name) for name in PAIR}
        self.took: dict[str, list[float]] = {"killed": [], "frozen": []}

    def _agreed(self) -> str:
        leaders = {view.status().leader for view in self._views.values()}
        return leaders.pop() if len(leaders) == 1 else ""

    def _leader_and_standby(self) -> tuple[str, str]:
        leader = eventually_sync(self._agreed, 120, what="one leader")
        return leader, PAIR[1] if leader == PAIR[0] else PAIR[0]

    def freeze(self) -> None:
        """Stop the leader for longer than every lease, and let it go on."""
        leader, standby = self._leader_and_standby()
        freeze(self._system, leader)
        until_s = time.monotonic() + LONGER_THAN_EVERY_LEASE_S
        try:
            self.took["frozen"].append(self._views[standby].wait_leader(standby))
            eventually_sync(lambda: time.monotonic() >= until_s, 60, what="the end of a pause")
        finally:
            thaw(self._system, leader)

    def kill(self) -> None:
        """Kill the leader; whoever decides next, the other or its own successor."""
        leader, standby = self._leader_and_standby()
        view = self._views[standby]
        former = self._system.kill_child(leader)
        began = time.monotonic()
        placed = view.status().placed_total
        # One round of the killed one may still be on its way; the next one isn't its.
        eventually_sync(
            lambda: view.status().placed_total > placed + 1, 120, what="the next decisions"
        )
        self.took["killed"].append(time.monotonic() - began)
        self._system.back(leader, former)


def failovers(times: int) -> tuple[Verdict, dict[str, list[float]]]:
    """Kill and freeze the leader in turn, so many times each, and judge the system.

    Each time under a load of its own, which makes room for the next.
    """
    with chaos_system("--schedulers", "2") as system:
        leaders, record = Leaders(system), new_record(system)
        for number, how in enumerate([leaders.kill, leaders.freeze] * times):
            if number:
                delete_all(system, record, f"load{number - 1}")
            _under_load(system, record, f"load{number}", how)
        return judge(system, record), leaders.took


def _under_load(
    system: ChaosSystem, record: Record, prefix: str, disturb: Callable[[], object]
) -> None:
    """Disturb a load early on, so that there is work for whoever leads next."""
    with command_load(system, record, prefix, count=COMMANDS_EACH, pace_s=PACE_S) as load:
        load.reach(EARLY)
        disturb()
        load.go_on()
        load.finish()


@pytest.mark.timeout(900)
def test_the_leading_scheduler_is_killed_and_frozen_twice(report_figures: Report) -> None:
    verdict, took = failovers(2)
    for how, each in took.items():
        assert len(each) == 2
        report_figures(f"{how}: takeover in s", [round(seconds, 2) for seconds in each])
    report_figures("failovers", verdict)


@pytest.mark.soak
@pytest.mark.timeout(600 + 60 * FAILOVERS)
def test_the_leading_scheduler_is_killed_and_frozen_many_times(
    report_figures: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, took = failovers(FAILOVERS)
    with capsys.disabled():
        for how, each in took.items():
            report_figures(
                how,
                f"{len(each)} times; takeover in s: median {median(each):.2f}, "
                f"longest {max(each):.2f}",
            )
        report_figures("failovers", verdict)
    assert all(len(each) == FAILOVERS for each in took.values())
    assert max(map(max, took.values())) <= TAKEOVER_S
