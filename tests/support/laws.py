"""What must hold of every log, whoever wrote it: in simulated runs and in property tests.

What production code makes of a log is held against what it makes of it in another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from unittest.mock import patch

from fogbank.checker import LogCommit, check_log
from fogbank.codec import decode_commit
from fogbank.domain import fleet as fleet_module
from fogbank.domain.decisions import Desired
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import NOTHING
from fogbank.domain.state_encoding import digest_of, encode_state
from fogbank.log.port import StoredCommit, Writer
from fogbank.placement.rederive import Rederiver
from tests.support.fleet_log import LittleLog

_SHOWN = 400  # characters of a round that differs


def broken_laws(log: LittleLog) -> list[str]:
    """Return what is wrong with a little log: by the checker's rules, and by the laws below."""
    commits = [
        StoredCommit(commit.sequence, Writer(commit.service, commit.instance), data)
        for commit, data in zip(log.commits, log.data, strict=True)
    ]
    report = check_log(
        LogCommit(each.sequence, each.writer.service, each.writer.instance, each.data)
        for each in commits
    )
    fleet = FleetState()
    for commit in _decoded(commits):
        fleet.fold(commit)
    return [
        *(str(each) for each in report.violations),
        *changed_by_void_events(commits),
        *differing_rounds(commits),
        *wrong_sums(fleet),
        *unsaid_changes(fleet),
    ]


def _decoded(commits: Iterable[StoredCommit]) -> Iterator[Commit]:
    for stored in commits:
        writer = stored.writer
        yield decode_commit(stored.sequence, writer.service, writer.instance, stored.data)


def changed_by_void_events(commits: Iterable[StoredCommit]) -> list[str]:
    """Fold the log with and without its void events: what comes of it must be the same."""
    whole, without = FleetState(), FleetState()
    # Their ids are remembered for a day, and so belong to what digests are of.
    with patch.object(fleet_module, "DIGEST_EVERY_ROUNDS", 1 << 30):
        for commit in _decoded(commits):
            verdicts = whole.fold(commit).verdicts
            without.fold(_only(commit, [verdict.accepted for verdict in verdicts]))
    if _essence(whole) == _essence(without):
        return []
    return ["void events left traces in what the log comes to"]


def differing_rounds(commits: Iterable[StoredCommit]) -> list[str]:
    """Derive every round again from what it names: the leader must have decided just that."""
    rederiver = Rederiver()
    found = []
    for commit in _decoded(commits):
        derived = rederiver.take(commit)
        if derived is not None and not derived.same:
            found.append(str(derived)[:_SHOWN])
    return found


def wrong_sums(fleet: FleetState) -> list[str]:
    """Find anew what the fold keeps by differences: held by node, who is present or silent.

    And which nodes have less than is booked on them.
    """
    found = []
    silent = {
        node.id
        for node in fleet.facts.nodes.values()
        if not node.removed and fleet.offline_since_us(node) is not None
    }
    if silent != fleet.silent.keys():
        found.append(
            f"nodes {sorted(silent)} are offline, and {sorted(fleet.silent)} are said to be"
        )
    overbooked = {
        node.id
        for node in fleet.facts.nodes.values()
        if not node.removed and not fleet.booked(node.id).fits_in(node.fingerprint.allocatable)
    }
    if overbooked != set(fleet.overbooked):
        found.append(
            f"nodes {sorted(overbooked)} are overbooked, and {sorted(fleet.overbooked)} are said "
            "to be"
        )
    for decision in fleet.decisions.deployments.values():
        placed = [fleet.decisions.placements[known] for known in decision.replica_ids]
        if [*fleet.present(decision.id)] != [each for each in placed if not fleet.ended(each)]:
            found.append(f"of deployment {decision.id} others are present than have not ended")
    for node_id, use in fleet._there.uses.items():
        placed = list(fleet.on_node(node_id))
        held = sum((each.resources for each in placed), NOTHING)
        booked = sum(
            (each.resources for each in placed if each.desired is not Desired.RELEASED), NOTHING
        )
        if fleet.held(node_id) != held or fleet.booked(node_id) != booked:
            found.append(
                f"node {node_id} is said to hold {use.held}, {use.booked} booked, and does "
                f"hold {held}, {booked} booked"
            )
    return found


def kept_for_nobody(fleet: FleetState) -> list[str]:
    """Find what the fold keeps of replicas that no round placed on the node that reported them.

    Facts are folded without a look at rounds, so it is gateways that leave such reports out.
    """
    placements = fleet.decisions.placements
    return [
        f"node {node_id} reported replica {replica_id}, which is not placed there"
        for replica_id, node_id in fleet.facts.observed
        if replica_id not in placements or placements[replica_id].node_id != node_id
    ]


def unsaid_changes(fleet: FleetState) -> list[str]:
    """Read a whole state anew: what is kept for its digest must be the same."""
    kept, _ = fleet._reading.digest(keep=False)
    if kept == digest_of(encode_state(fleet.parts)):
        return []
    return [f"up to {fleet.position} something changed in the state, and nothing said so"]


def _only(commit: Commit, counts: list[bool]) -> Commit:
    """Return a commit without the events that do not count, their places kept."""
    if all(counts):
        return commit
    envelopes = tuple(
        envelope if counted else replace(envelope, event=None)
        for envelope, counted in zip(commit.envelopes, counts, strict=True)
    )
    # A scheduler's commit is a round or nothing; one without it is nobody's.
    return replace(commit, service="gateway", envelopes=envelopes)


def _essence(fleet: FleetState) -> str:
    """Return a state without the memory of ids, which void commands belong to."""
    facts = {
        name: getattr(fleet.facts, name)
        for name in sorted(type(fleet.facts).__slots__)
        if name != "_known"
    }
    on_node = sorted((node_id, sorted(use.replicas)) for node_id, use in fleet._there.uses.items())
    return f"{fleet.position} {facts!r} {fleet.decisions!r} {on_node!r}"
