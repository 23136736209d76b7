"""More runs than every change needs: the slow tier takes some, the soak as many as it has time."""

import os
import time
from itertools import count

import pytest

from tests.simulation.plan import Profile
from tests.simulation.run import run_seed

# In groups, so that workers share them.
_GROUP = 5
USUAL = tuple(range(201, 211, _GROUP))
_BRIEF_GROUP = 50
BRIEF = tuple(range(301, 451, _BRIEF_GROUP))
CHANGES = tuple(range(25, 45, _GROUP))
SHARED = tuple(range(9, 29, _GROUP))
MINUTES = float(os.environ.get("FOG_SIM_MINUTES", "30"))


def complaints(seeds: range, profile: Profile) -> list[str]:
    return [
        f"--seed {seed} --profile {profile}: {sentence}"
        for seed in seeds
        for sentence in run_seed(seed, profile).complaints
    ]


@pytest.mark.slow
@pytest.mark.parametrize("first", USUAL)
def test_clusters_mend_themselves(first: int) -> None:
    found = complaints(range(first, first + _GROUP), "usual")
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", BRIEF)
def test_more_brief_runs(first: int) -> None:
    found = complaints(range(first, first + _BRIEF_GROUP), "brief")
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", CHANGES)
def test_more_rollouts_come_to_an_end(first: int) -> None:
    found = complaints(range(first, first + _GROUP), "changes")
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("first", SHARED)
def test_more_tenants_keep_to_their_quotas(first: int) -> None:
    found = complaints(range(first, first + _GROUP), "shared")
    assert not found, "\n".join(found)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_no_seed_fails_for_a_long_time() -> None:
    ends_s = time.monotonic() + MINUTES * 60
    for seed in count(10_000):
        if time.monotonic() > ends_s:
            break
        result = run_seed(seed)
        assert result.clean, f"seed {seed}:\n" + "\n".join(result.problems)
