"""Where planted mistakes show, and how many seeds it takes to see each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from tests.simulation.bugs import run_planted
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
    "containers-not-looked-for": ("usual", 7),
    "dedupe-by-window-only": ("brief", 2),
    "deleted-runs-on": ("brief", 6),
    "digests-not-compared": ("flipped", 4),
    "disk-not-synced": ("brief", 32),
    "epoch-unchecked": ("brief", 63),
    "equals-evicted": ("changes", 21),
    "evicted-in-vain": ("changes", 56),
    "expectation-ignored": ("brief", 2),
    "falling-states-taken-in": ("brief", 2),
    "leader-for-ever": ("brief", 2),
    "leaving-does-not-count-in-quotas": ("shared", 3),
    "lost-nodes-never-replaced": ("brief", 16),
    "memory-not-booked": ("brief", 27),
    "needed-revisions-forgotten": ("changes", 1),
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
    "raised-quota-unnoticed": ("shared", 34),
    "reader-skips-after-an-outage": ("brief", 53),
    "rebalance-moves-all-at-once": ("shared", 37),
    "report-numbers-unchecked": ("brief", 102),
    "reports-of-strangers-logged": ("usual", 7),
    "reports-not-repeated": ("brief", 14),
    "retry-with-new-bytes": ("usual", 3),
    "returned-never-settled": ("brief", 33),
    "rolled-back-again-and-again": ("changes", 5),
    "room-released-before-the-end": ("brief", 10),
    "room-unnoticed": ("brief", 2),
    "runs-on-when-cut-off": ("shared", 38),
    "session-deaf-to-the-fold": ("brief", 14),
    "snapshot-of-another-position": ("brief", 2),
    "snapshot-pieces-unverified": ("brief", 125),
    "stale-assignments": ("brief", 33),
    "started-beside-victims": ("changes", 2),
    "starts-before-the-end": ("brief", 13),
    "successors-not-waited-for": ("changes", 2),
    "successors-side-by-side": ("changes", 185),
    "suspended-counts-in-quotas": ("shared", 44),
    "suspended-room-given-away": ("changes", 7),
    "tail-lost": ("brief", 10),
    "unlisted-runs-on": ("usual", 7),
    "victims-forgotten": ("changes", 2),
}


class Sighting(NamedTuple):
    """The first seed at which a mistake showed, None if none did, and what was complained of."""

    bug: str
    profile: Profile
    seed: int | None
    complaint: str = ""


def sightings(seeds: range, jobs: int) -> Iterator[Sighting]:
    """Yield when each mistake shows in the profile that it belongs to, seed after seed."""
    bugs = sorted(SHOWS_AT)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_sighting, bugs, [seeds] * len(bugs))


def _sighting(bug: str, seeds: range) -> Sighting:
    profile, _ = SHOWS_AT[bug]
    for seed in seeds:
        complaints = run_planted(seed, bug, profile).complaints
        if complaints:
            return Sighting(bug, profile, seed, complaints[0])
    return Sighting(bug, profile, None)
