"""Processes die by SIGKILL while 200 deployments are submitted, scaled and deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.chaos import AGENT, ChaosSystem, Verdict, chaos_system, disturbed, kill

pytestmark = [pytest.mark.kill, pytest.mark.timeout(400), pytest.mark.xdist_group("chaos")]

Report = Callable[[str, object], None]


@pytest.mark.parametrize(
    "victim", ["gateway-1", "scheduler-1", "ledger-1", "nats", "postgres", AGENT]
)
def test_one_process_is_killed_twice(victim: str, report_figures: Report) -> None:
    with chaos_system() as system:
        took: list[float] = []
        verdict = disturbed(system, [lambda: took.append(kill(system, [victim])) for _ in range(2)])
    report_figures(victim, f"new process after {took[0]:.2f} and {took[1]:.2f} s; {verdict}")


def test_several_processes_are_killed_at_once(report_figures: Report) -> None:
    with chaos_system("--gateways", "2", "--schedulers", "2") as system:
        verdict = disturbed(
            system,
            [
                lambda: kill(system, ["gateway-1", "scheduler-1", "ledger-1", AGENT]),
                lambda: kill(system, ["nats", "postgres", "gateway-2"]),
                lambda: kill(system, ["nats", "scheduler-1", "scheduler-2", "agent-edge-2"]),
            ],
        )
    report_figures("several at once", verdict)


def test_everything_is_killed_and_started_again(report_figures: Report) -> None:
    with chaos_system() as system:
        verdict = everything_killed(system)
    report_figures("everything", verdict)


def everything_killed(system: ChaosSystem) -> Verdict:
    def disturb() -> None:
        system.kill_all()
        system.start(150)

    return disturbed(system, [disturb])
