"""A few runs on every change: they hold, and a seed always leads to the same run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.run import run_seed

ROOT = Path(__file__).parents[2]
# Short runs with kills, cuts, late and lost appends among them.
SEEDS = (3, 8, 14, 16, 17)
_DIGEST = "from tests.simulation.run import run_seed; print(run_seed({seed}).digest)"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cluster_mends_itself(seed: int) -> None:
    result = run_seed(seed)
    assert result.clean, "\n".join(result.problems)
    assert result.acknowledged > 0


def test_a_seed_always_leads_to_the_same_run() -> None:
    first, second = run_seed(14, keep_lines=True), run_seed(14)
    assert first.digest == second.digest
    assert first.lines
    assert run_seed(8).digest != first.digest


def test_the_order_of_sets_does_not_matter() -> None:
    """The same seed in processes that hash texts differently."""
    found = set()
    for hash_seed in ("1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", _DIGEST.format(seed=14)],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        found.add(done.stdout.strip())
    assert len(found) == 1
