"""More runs than every change needs: the slow tier takes some, the soak as many as it has time."""

import os
import time
from itertools import count

import pytest

from tests.simulation.run import run_seed

# Four groups, so that workers share them.
GROUPS = tuple(range(200, 240, 10))
MINUTES = float(os.environ.get("FOG_SIM_MINUTES", "30"))


@pytest.mark.slow
@pytest.mark.parametrize("first", GROUPS)
def test_clusters_mend_themselves(first: int) -> None:
    failing = [
        f"seed {seed}: {problem}"
        for seed in range(first, first + 10)
        for problem in run_seed(seed).problems
    ]
    assert not failing, "\n".join(failing)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_no_seed_fails_for_a_long_time() -> None:
    ends_s = time.monotonic() + MINUTES * 60
    for seed in count(10_000):
        if time.monotonic() > ends_s:
            break
        result = run_seed(seed)
        assert result.clean, f"seed {seed}:\n" + "\n".join(result.problems)
