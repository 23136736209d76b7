"""Processes die by SIGKILL while 200 deployments are submitted, scaled and deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial

import pytest

from tests.support.chaos import AGENT, ChaosSystem, chaos_system, disturbed, kill

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("chaos")]

Report = Callable[[str, object], None]

# Slow enough that all disturbances find a load.
PACE_S = 0.1


def test_each_process_is_killed_twice(report_figures: Report) -> None:
    took: dict[str, list[float]] = defaultdict(list)

    def disturb(system: ChaosSystem, victim: str) -> None:
        took[victim].append(round(kill(system, [victim]), 2))

    victims = ["gateway-1", "scheduler-1", "ledger-1", "nats", "postgres", AGENT]
    with chaos_system() as system:
        verdict = disturbed(
            system, [partial(disturb, system, victim) for victim in victims * 2], pace_s=PACE_S
        )
    report_figures("new process after s", dict(took))
    report_figures("each killed twice", verdict)


def test_several_processes_and_then_all_are_killed_at_once(report_figures: Report) -> None:
    with chaos_system("--gateways", "2", "--schedulers", "2") as system:

        def everything() -> None:
            system.kill_all()
            system.start()

        verdict = disturbed(
            system,
            [
                lambda: kill(system, ["gateway-1", "scheduler-1", "ledger-1", AGENT]),
                lambda: kill(system, ["nats", "postgres", "gateway-2"]),
                lambda: kill(system, ["nats", "scheduler-1", "scheduler-2", "agent-edge-2"]),
                everything,
            ],
            pace_s=PACE_S,
        )
    report_figures("several at once, then all", verdict)
