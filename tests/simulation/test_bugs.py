"""The simulation finds mistakes: each one planted, each one seen.

The seeds are brief runs in which a mistake shows. A change of the code or of the workload may move
that; the other seeds are tried then.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.simulation.bugs import BUGS, run_planted
from tests.simulation.plan import Profile

# How many seeds are tried before a mistake counts as missed.
SEEDS_TRIED = 150
SHOWS_AT: dict[str, tuple[Profile, int]] = {
    "ack-as-effect": ("brief", 2),
    "ack-before-durable": ("brief", 2),
    "broken-never-replaced": ("usual", 1),
    "checkpoint-outside-the-transaction": ("brief", 21),
    "clash-accepted": ("brief", 4),
    "clock-unchecked": ("brief", 46),
    "containers-not-looked-for": ("usual", 5),
    "dedupe-by-window-only": ("brief", 2),
    "deleted-runs-on": ("brief", 6),
    "digests-not-compared": ("flipped", 4),
    "disk-not-synced": ("brief", 14),
    "epoch-unchecked": ("brief", 63),
    "equals-evicted": ("changes", 21),
    "expectation-ignored": ("brief", 2),
    "falling-states-taken-in": ("brief", 2),
    "leader-for-ever": ("brief", 2),
    "leaving-does-not-count-in-quotas": ("shared", 3),
    "lost-nodes-never-replaced": ("brief", 16),
    "memory-not-booked": ("brief", 27),
    "new-ids-when-repeated": ("brief", 3),
    "old-revision-placed": ("changes", 2),
    "outdated-left-alone": ("changes", 11),
    "own-bookings-of-the-round-forgotten": ("shared", 3),
    "placed-in-part": ("brief", 16),
    "prev-unchecked-by-a-gateway": ("brief", 2),
    "prev-unchecked-by-a-scheduler": ("brief", 6),
    "prev-unchecked-by-all": ("brief", 8),
    "prev-unchecked-by-ledgers": ("brief", 2),
    "quota-of-organizations-skipped": ("shared", 2),
    "raised-quota-unnoticed": ("shared", 22),
    "reader-skips-after-an-outage": ("brief", 53),
    "rebalance-moves-all-at-once": ("shared", 37),
    "report-numbers-unchecked": ("brief", 102),
    "reports-not-repeated": ("brief", 52),
    "retry-with-new-bytes": ("usual", 3),
    "returned-never-settled": ("brief", 33),
    "rolled-back-again-and-again": ("changes", 5),
    "room-released-before-the-end": ("brief", 10),
    "room-unnoticed": ("brief", 20),
    "runs-on-when-cut-off": ("shared", 38),
    "session-deaf-to-the-fold": ("brief", 14),
    "snapshot-of-another-position": ("brief", 2),
    "snapshot-pieces-unverified": ("brief", 292),
    "stale-assignments": ("brief", 33),
    "started-beside-victims": ("changes", 2),
    "starts-before-the-end": ("brief", 13),
    "successors-not-waited-for": ("changes", 2),
    "suspended-counts-in-quotas": ("shared", 44),
    "suspended-room-given-away": ("changes", 12),
    "tail-lost": ("brief", 10),
    "unlisted-runs-on": ("usual", 5),
    "victims-forgotten": ("changes", 2),
}
# What the rest of the system makes good, or what takes a rarer run than those tried so far.
NOT_SEEN = frozenset(
    {
        "evicted-in-vain",
        "successors-side-by-side",
    }
)
# Those that take half a second or more are left to the slow tier; each kind has some that don't.
COSTLY = frozenset(
    {
        "broken-never-replaced",
        "containers-not-looked-for",
        "deleted-runs-on",
        "falling-states-taken-in",
        "leader-for-ever",
        "leaving-does-not-count-in-quotas",
        "memory-not-booked",
        "own-bookings-of-the-round-forgotten",
        "prev-unchecked-by-ledgers",
        "raised-quota-unnoticed",
        "rebalance-moves-all-at-once",
        "retry-with-new-bytes",
        "rolled-back-again-and-again",
        "runs-on-when-cut-off",
        "snapshot-of-another-position",
        "snapshot-pieces-unverified",
        "starts-before-the-end",
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
    assert SHOWS_AT.keys() | NOT_SEEN == BUGS.keys()


@pytest.mark.parametrize("group", range(GROUPS))
def test_planted_mistakes_are_found(group: int) -> None:
    assert not missed(CHEAP[group::GROUPS])


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(COSTLY))
def test_a_costly_mistake_is_found(bug: str) -> None:
    assert not missed([bug])
