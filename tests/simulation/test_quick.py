"""A few runs on every change: they hold, and a seed always leads to the same run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fogbank.checker import forgotten as checked
from fogbank.domain import forgetting
from fogbank.domain.decisions import Decisions, PlacedReplica
from fogbank.domain.fleet import FleetState
from fogbank.domain.remembered import Remembered
from tests.simulation.run import run_seed

ROOT = Path(__file__).parents[2]
# Runs with kills, cuts, late and lost appends among them.
SEEDS = (3, 8, 14)
_DIGESTS = (
    "from tests.simulation.run import run_seed; "
    "print([run_seed(seed, profile).digest for profile, seed in {runs}])"
)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_mends_itself(seed: int) -> None:
    result = run_seed(seed)
    assert result.clean, "\n".join(result.problems)
    assert result.acknowledged > 0


@pytest.mark.parametrize("seed", [1, 2])
def test_a_cluster_forgets_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who begins with a snapshot too; no caller tries again for as long as that takes."""
    forgets, forgotten = FleetState.forget, set()

    def forget(fleet: FleetState, deployment_id: str) -> None:
        forgotten.add(deployment_id)
        forgets(fleet, deployment_id)

    forgets_replica, replicas = Decisions.forget_replica, set()

    def forget_replica(decisions: Decisions, placed: PlacedReplica, remembered: Remembered) -> None:
        replicas.add(placed.id)
        forgets_replica(decisions, placed, remembered)

    monkeypatch.setattr(forgetting, "KEPT_DELETED_US", 2_000_000)
    monkeypatch.setattr(forgetting, "kept_superseded_us", lambda _: 2_000_000)
    monkeypatch.setattr(Decisions, "forget_replica", forget_replica)
    monkeypatch.setattr(checked, "KEPT_US", 2_000_000)
    monkeypatch.setattr(FleetState, "forget", forget)
    result = run_seed(seed, "changes")
    assert result.clean, "\n".join(result.problems)
    assert forgotten
    assert replicas


def test_a_seed_always_leads_to_the_same_run() -> None:
    first, second = run_seed(14, "brief", keep_lines=True), run_seed(14, "brief")
    assert first.digest == second.digest
    assert first.lines
    assert run_seed(8, "brief").digest != first.digest


def digests(runs: list[tuple[str, int]], hash_seed: str) -> str:
    """Return what runs come to in a process that hashes texts by a seed of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _DIGESTS.format(runs=runs)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    return done.stdout.strip()


def test_the_order_of_sets_does_not_matter() -> None:
    runs = [("brief", seed) for seed in range(10, 20)]
    assert len({digests(runs, hash_seed) for hash_seed in ("1", "77")}) == 1


@pytest.mark.slow
def test_nor_does_it_in_long_runs() -> None:
    runs = [("usual", seed) for seed in (1, 5, 11)]
    assert len({digests(runs, hash_seed) for hash_seed in ("2", "2024")}) == 1
