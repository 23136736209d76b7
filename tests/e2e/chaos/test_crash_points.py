"""Every process of a system dies at each named point of its code, one after the other, under load.

All kinds die beside one another in one system: what costs time is starting processes, and so both
processors are kept busy with it. The soak does the same in random order for as long as one likes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.support.chaos import chaos_system, judge, new_record
from tests.support.command_load import PATIENCE_S
from tests.support.crash_points import (
    VICTIMS,
    Accounts,
    Killing,
    Loads,
    busy,
    crash_plan,
    die_everywhere,
    places,
    points_of,
)

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("chaos")]

Report = Callable[[str, object], None]

# How many of a kind may be on their way to their death; the others of the kind are at work.
AT_ONCE = {"gateway": 2, "agent": 2}


def test_processes_die_at_each_point(report_figures: Report) -> None:
    with crash_plan() as plan:
        killings = [
            Killing(plan, victim, points_of(*parts), AT_ONCE.get(victim, 1))
            for victim, parts in VICTIMS.items()
        ]
        for killing in killings:
            killing.begin()
        instants = [time.monotonic()]
        with chaos_system("--gateways", "2", env=plan.environment) as system:
            record = new_record(system)
            loads, accounts = Loads(system, record), Accounts(system)
            instants.append(time.monotonic())
            with busy(loads, accounts):
                die_everywhere(system, killings, (loads, accounts), PATIENCE_S)
            instants.append(time.monotonic())
            verdict = judge(system, record)
            accounts.check()
            instants.append(time.monotonic())
    deaths = [point for killing in killings for point in killing.died_at]
    assert sorted(deaths) == sorted(place.name for place in places())
    spans = [round(later - sooner, 1) for sooner, later in pairwise(instants)]
    report_figures("start, deaths and judgement took s", spans)
    report_figures("deaths", {killing.victim: len(killing.died_at) for killing in killings})
    report_figures("crash points", f"{loads.finished} loads; {verdict}")
