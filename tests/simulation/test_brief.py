"""Brief runs: a hundred on every change, hundreds in all; a lost tail never goes unnoticed."""

import pytest

from tests.simulation.plan import Profile
from tests.simulation.regressions import REGRESSIONS
from tests.simulation.run import run_seed

# In groups, so that workers share them.
_GROUP = 25
# As many as the quick tier has time for; test-all has the others too.
_QUICK_GROUPS = 4
BRIEF = tuple(range(1, 251, _GROUP))
CHANGES_GROUP = 12
CHANGES = tuple(range(1, 25, CHANGES_GROUP))
SHARED_GROUP = 4
SHARED = tuple(range(1, 9, SHARED_GROUP))
CANARIES = range(1, 21)
FLIPPED = range(1, 16)


def complaints(profile: Profile, seeds: range) -> list[str]:
    return [
        f"--seed {seed} --profile {profile}: {sentence}"
        for seed in seeds
        for sentence in run_seed(seed, profile).complaints
    ]


@pytest.mark.parametrize(
    "first",
    [
        *BRIEF[:_QUICK_GROUPS],
        *(pytest.param(first, marks=pytest.mark.slow) for first in BRIEF[_QUICK_GROUPS:]),
    ],
)
def test_clusters_mend_themselves(first: int) -> None:
    found = complaints("brief", range(first, first + _GROUP))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("first", CHANGES)
def test_rollouts_come_to_an_end(first: int) -> None:
    found = complaints("changes", range(first, first + CHANGES_GROUP))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("first", SHARED)
def test_tenants_keep_to_their_quotas(first: int) -> None:
    found = complaints("shared", range(first, first + SHARED_GROUP))
    assert not found, "\n".join(found)


def test_a_lost_tail_is_noticed() -> None:
    found = complaints("canary", CANARIES)
    assert not found, "\n".join(found)
    assert any(run_seed(seed, "canary").bereft for seed in CANARIES[:5])


def test_a_changed_state_is_noticed() -> None:
    found = complaints("flipped", FLIPPED)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("profile", "seed", "found"),
    [
        pytest.param(*each, marks=pytest.mark.slow if each[0] == "usual" else ())
        for each in REGRESSIONS
    ],
)
def test_what_failed_once_holds(profile: Profile, seed: int, found: str) -> None:
    assert not run_seed(seed, profile).complaints, found
