"""Every process of a system dies at each named point of its code, one after the other, under load.

All kinds die beside one another in one system: what costs time is starting processes, and so both
processors are kept busy with it. The soak does the same in random order for as long as one likes.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.chaos import chaos_system, judge, new_record
from tests.support.crash_points import (
    PATIENCE_S,
    Accounts,
    CrashPlan,
    Killing,
    Loads,
    busy,
    die_everywhere,
    places,
    points_of,
)

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("chaos")]

Report = Callable[[str, object], None]

DEPLOYMENTS = 30
PACE_S = 0.4
# The parts of the source that each kind of process is killed in.
VICTIMS = {
    "gateway": ("gateway",),
    "scheduler": ("scheduler", "log"),
    "ledger": ("ledger",),
    "agent": ("agent",),
}
# How many of a kind may be on their way to their death; the others of the kind are at work.
AT_ONCE = {"gateway": 2, "agent": 2}


def test_processes_die_at_each_point(report_figures: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        plan = CrashPlan(Path(folder) / "plan")
        killings = [
            Killing(plan, victim, points_of(*parts), AT_ONCE.get(victim, 1))
            for victim, parts in VICTIMS.items()
        ]
        for killing in killings:
            killing.begin()
        began = time.monotonic()
        with chaos_system("--gateways", "2", env=plan.environment) as system:
            record = new_record(system)
            loads, accounts = Loads(system, record, DEPLOYMENTS, PACE_S), Accounts(system)
            started = time.monotonic()
            with busy(loads, accounts):
                die_everywhere(system, killings, PATIENCE_S)
            died = time.monotonic()
            verdict = judge(system, record, 180)
            accounts.check()
    deaths = [point for killing in killings for point in killing.died_at]
    assert sorted(deaths) == sorted(place.name for place in places())
    report_figures(
        "started, died, judged in s", (started - began, died - started, time.monotonic() - died)
    )
    report_figures("deaths", {killing.victim: len(killing.died_at) for killing in killings})
    report_figures("crash points", f"{loads.finished} loads; {verdict}")
