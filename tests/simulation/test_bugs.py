"""The simulation finds mistakes: each one planted, each one seen.

Each is tried first where it is known to show. A change of the code or of the workload may move
that; the other seeds are tried then.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.simulation.bugs import BUGS, run_planted
from tests.simulation.mistakes import SEEDS_TRIED, SHOWS_AT

# Those that take half a second or more are left to the slow tier; each kind has some that don't.
COSTLY = frozenset(
    {
        "broken-never-replaced",
        "containers-not-looked-for",
        "deleted-runs-on",
        "evicted-in-vain",
        "falling-states-taken-in",
        "leader-for-ever",
        "leaving-does-not-count-in-quotas",
        "memory-not-booked",
        "needed-revisions-forgotten",
        "own-bookings-of-the-round-forgotten",
        "prev-unchecked-by-ledgers",
        "raised-quota-unnoticed",
        "rebalance-moves-all-at-once",
        "reports-of-strangers-logged",
        "retry-with-new-bytes",
        "rolled-back-again-and-again",
        "runs-on-when-cut-off",
        "snapshot-of-another-position",
        "snapshot-pieces-unverified",
        "starts-before-the-end",
        "successors-side-by-side",
        "suspended-counts-in-quotas",
        "suspended-room-given-away",
        "unlisted-runs-on",
    }
)
CHEAP = sorted(SHOWS_AT.keys() - COSTLY)
GROUPS = 2


def missed(bugs: list[str]) -> list[str]:
    """Return those of some mistakes that no run finds.

    They run in processes of their own: what earlier runs leave behind must not matter.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:

        def found(bug: str) -> bool:
            profile, first = SHOWS_AT[bug]
            results = (
                pool.submit(run_planted, seed, bug, profile).result()
                for seed in (first, *range(1, SEEDS_TRIED))
            )
            return any(not result.clean for result in results)

        return [bug for bug in bugs if not found(bug)]


def test_every_mistake_is_listed() -> None:
    assert SHOWS_AT.keys() == BUGS.keys()


@pytest.mark.parametrize("group", range(GROUPS))
def test_planted_mistakes_are_found(group: int) -> None:
    assert not missed(CHEAP[group::GROUPS])


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(COSTLY))
def test_a_costly_mistake_is_found(bug: str) -> None:
    assert not missed([bug])
