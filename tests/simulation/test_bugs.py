"""The simulation finds mistakes: each one planted, each one seen.

The seeds are short runs in which a mistake shows. A change of the code or of the workload may move
that, so the seeds after it count too.
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tests.simulation.bugs import BUGS, run_planted

SEEDS_TRIED = 40
SHOWS_AT = {
    "ack-as-effect": 14,
    "ack-before-durable": 14,
    "broken-never-replaced": 21,
    "checkpoint-outside-the-transaction": 1,
    "clash-accepted": 14,
    "clock-unchecked": 24,
    "containers-not-looked-for": 3,
    "dedupe-by-window-only": 14,
    "deleted-runs-on": 14,
    "disk-not-synced": 2,
    "epoch-unchecked": 507,
    "expectation-ignored": 14,
    "falling-states-taken-in": 14,
    "leader-for-ever": 3,
    "lost-nodes-never-replaced": 16,
    "memory-not-booked": 8,
    "new-ids-when-repeated": 14,
    "placed-in-part": 14,
    "prev-unchecked-by-a-gateway": 14,
    "prev-unchecked-by-a-scheduler": 14,
    "prev-unchecked-by-all": 14,
    "prev-unchecked-by-ledgers": 14,
    "reader-skips-after-an-outage": 8,
    "report-numbers-unchecked": 17,
    "retry-with-new-bytes": 14,
    "returned-never-settled": 8,
    "room-released-before-the-end": 8,
    "room-unnoticed": 17,
    "session-deaf-to-the-fold": 8,
    "starts-before-the-end": 8,
    "suspended-room-given-away": 514,
    "tail-lost": 14,
    "unlisted-runs-on": 7,
}
# What the rest of the system makes good: planted alone, the first did not show in any run so far,
# the second shows at seed 1 in some processes only (see the known gap in docs/benchmarks.md).
NOT_SEEN = frozenset({"stale-assignments", "reports-not-repeated"})


def test_every_mistake_is_listed() -> None:
    assert SHOWS_AT.keys() | NOT_SEEN == BUGS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("bug", sorted(SHOWS_AT))
def test_a_planted_mistake_is_found(bug: str) -> None:
    first = SHOWS_AT[bug]
    tried = range(first, first + SEEDS_TRIED)
    # In a process of its own: what earlier runs leave behind must not matter.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = any(not pool.submit(run_planted, seed, bug).result().clean for seed in tried)
    assert found, f"not found in {tried}"
