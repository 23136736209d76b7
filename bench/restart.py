"""How fast a scheduler is ready again on a long log: by folding it all, and from a snapshot.

A tenth of the events are the lives of deployments with three replicas, the others are nodes' loads.
The snapshot was taken after 95 of 100 rounds, so that a tail is left to fold. CPU seconds, in one
process without broker and database; what they add is the same for either, but for the bytes read.

The ratio is folding the whole log to beginning with the snapshot.
"""

from __future__ import annotations

import argparse
import gc
import time
from unittest.mock import patch

from bench.ledger_projection import Workload
from fogbank.domain import events as ev
from fogbank.domain import fleet as fleet_module
from fogbank.domain.envelope import GATEWAY
from fogbank.domain.fleet import FleetState
from fogbank.domain.snapshots import Snapshot, restored, snapshot_of
from fogbank.log.follower import decode
from fogbank.log.port import StoredCommit
from fogbank.placement import Planner
from services.ledger.adapters import snapshots as stored

PER_COMMIT = 100
# Each deployment is created and reported by three nodes.
EVENTS_EACH = 4


class LongLog(Workload):
    """The log: lives of deployments among a great many changes of load."""

    def loads(self, events: int) -> None:
        """Let nodes' loads change so many times."""
        nodes = list(zip(self._nodes, self._epochs, strict=True))
        for start in range(0, events, PER_COMMIT):
            changes: list[ev.Event] = [
                ev.NodeLoadChanged(*nodes[n % len(nodes)], n % 80, n % 70, self.log.last)
                for n in range(start, start + PER_COMMIT)
            ]
            self._append(GATEWAY, changes)


def made(events: int, nodes: int) -> tuple[list[StoredCommit], int]:
    """Return a log of about so many events, and the number of its rounds."""
    log = LongLog(PER_COMMIT, nodes)
    steps = max(events // 10 // EVENTS_EACH // PER_COMMIT, 1)
    for _ in range(steps):
        log.deploy(PER_COMMIT)
        log.loads(events * 9 // 10 // steps)
    return list(log.log.store.commits), steps


def snapshot_in(commits: list[StoredCommit]) -> Snapshot:
    """Return the first snapshot that folding a log leads to."""
    fleet = FleetState(keep_pieces=True)
    for commit in commits:
        fleet.fold(decode(commit))
        if fleet.pieces:
            break
    snapshot = snapshot_of(fleet)
    assert snapshot is not None
    return snapshot


def ready(fleet: FleetState, commits: list[StoredCommit]) -> Planner:
    """Return a planner at the log's end."""
    planner = Planner(fleet)
    for commit in commits:
        planner.fold(decode(commit))
    return planner


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.restart", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=1_000)
    parser.add_argument("--brief", action="store_true", help="a log of 50,000 events")
    chosen = parser.parse_args(arguments)
    events = 50_000 if chosen.brief else chosen.events
    commits, rounds = made(events, chosen.nodes)
    with patch.object(fleet_module, "DIGEST_EVERY_ROUNDS", max(rounds * 95 // 100, 1)):
        compare(commits, events)


def compare(commits: list[StoredCommit], events: int) -> None:
    """Fold a log both ways and print the times."""
    snapshot = snapshot_in(commits)
    blocks = [stored.compressed(block) for block in stored.blocks_of(snapshot.pieces)]
    gc.collect()

    began_s = time.process_time()
    whole = ready(FleetState(), commits)
    folded_s = time.process_time() - began_s
    gc.collect()

    began_s = time.process_time()
    pieces = tuple(piece for block in blocks for piece in stored.pieces_of(block))
    loaded = Snapshot(
        snapshot.position, snapshot.engine, snapshot.structure, snapshot.digest, pieces
    )
    fleet = restored(loaded, snapshot.engine)
    restored_s = time.process_time() - began_s
    begun = ready(fleet, commits[snapshot.position :])
    begun_s = time.process_time() - began_s

    assert begun.fleet.facts == whole.fleet.facts
    assert begun.fleet.decisions == whole.fleet.decisions
    tail = len(commits) - snapshot.position
    replicas = len(whole.fleet.decisions.placements)
    print(f"log: {events:,} events, {len(commits):,} commits, {replicas:,} replicas")
    print(f"snapshot: {sum(map(len, blocks)) / 1e6:.1f} MB, {tail:,} commits after it")
    print(f"whole log folded: {folded_s:.2f} s ({events / folded_s:,.0f} events/s)")
    print(f"from the snapshot: {begun_s:.2f} s, of which {restored_s:.2f} s to restore it")
    print(f"ratio: {folded_s / begun_s:.1f}")


if __name__ == "__main__":
    main()
