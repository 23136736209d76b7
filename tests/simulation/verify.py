"""What must hold at the end of a run. The rules of the log itself are `fogbank.checker`'s."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from fogbank.checker import Acknowledged, Counts, LogCommit, Report, check_log
from fogbank.codec import decode_commit
from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from fogbank.domain.states import DeploymentStatus
from fogbank.v1 import deployments_pb2, facts_pb2, log_pb2
from services.ledger.core.log_tree import LogTree
from services.ledger.core.projection import Projection
from tests.simulation.actors import Cluster, SchedulerActor, fleet_of
from tests.simulation.machines import Database, Machine, total
from tests.simulation.snapshots import change_of
from tests.simulation.workload import Client
from tests.support.laws import kept_for_nobody, unsaid_changes, wrong_sums


def report_on(cluster: Cluster, acknowledged: list[Acknowledged], *, settled: bool) -> Report:
    """Let the checker look at the whole log."""
    return check_log(
        (
            LogCommit(each.sequence, each.writer.service, each.writer.instance, each.data)
            for each in cluster.broker.commits
        ),
        acknowledged,
        settled=settled,
    )


def state_digest(fleet: FleetState) -> str:
    """Return what a folded state comes to."""
    uses = fleet._there.uses.items()
    on_node = sorted((node_id, sorted(use.replicas)) for node_id, use in uses if use.replicas)
    text = f"{fleet.position} {fleet.facts!r} {fleet.decisions!r} {on_node!r}"
    return sha256(text.encode()).hexdigest()


def unfinished(cluster: Cluster) -> list[str]:
    """Return what has not come to rest yet, without looking at the log as a whole."""
    end = len(cluster.broker.commits)
    found = []
    for actor in cluster.actors:
        if not actor.alive:
            if actor not in cluster.agents or not actor.away:
                found.append(f"{actor.name} does not run")
            continue
        if isinstance(actor, SchedulerActor) and actor.stands_still:
            found.append(f"{actor.name} stands still: its state differs from a round's")
        fleet = fleet_of(actor)
        if fleet is not None and fleet.position != end:
            found.append(f"{actor.name} has read up to {fleet.position} of {end}")
    if cluster.database.checkpoint.position != end:
        found.append(f"the ledger has {cluster.database.checkpoint.position} of {end}")
    return found + _strangers(cluster)


def flip_unnoticed(cluster: Cluster) -> bool:
    """Tell whether nobody noticed a changed state, though two digests were compared since.

    The first one after the change may have been reckoned before it.
    """
    process, end = cluster.flipped
    if process is None or not process.alive or process.frozen or cluster.differs:
        return False
    if any(scheduler.stands_still for scheduler in cluster.schedulers):
        return False
    digests = 0
    for commit in _commits(cluster):
        event = commit.envelopes[0].event
        digests += (
            commit.sequence > end
            and isinstance(event, ev.RoundDecided)
            and bool(event.state_digest)
        )
    return digests > 2


def _strangers(cluster: Cluster) -> list[str]:
    """Compare what runs on each machine with what the log wants there."""
    fleet = _fold_anew(cluster)
    found = []
    for agent in cluster.agents:
        if agent.away:
            continue
        node_id = agent.machine.node_id
        if node_id not in fleet.facts.nodes:
            found.append(f"{agent.name} is not known")
            continue
        wanted = {
            placed.id
            for placed in fleet.on_node(node_id)
            if placed.desired != "released" and not fleet.ended(placed)
        }
        running = set(agent.machine.running())
        if wanted != running:
            found.append(
                f"{agent.name} runs {sorted(running - wanted)} that nobody wants there and "
                f"does not run {sorted(wanted - running)}"
            )
    return found


def _fold_anew(cluster: Cluster) -> FleetState:
    fleet = FleetState()
    for commit in _commits(cluster):
        fleet.fold(commit)
    return fleet


def _commits(cluster: Cluster) -> Iterator[Commit]:
    for stored in cluster.broker.commits:
        writer = stored.writer
        yield decode_commit(stored.sequence, writer.service, writer.instance, stored.data)


def differing_verdicts(cluster: Cluster, counts: Counts) -> list[str]:
    """Compare what the folds find void with what the checker does."""
    fleet = FleetState()
    void = sum(
        not verdict.accepted
        for commit in _commits(cluster)
        for verdict in fleet.fold(commit).verdicts
    )
    if void == counts.events_void:
        return []
    return [f"the folds find {void} events void, the checker {counts.events_void}"]


def restless_nodes(cluster: Cluster, since_us: int) -> list[str]:
    """Find nodes that shook hands again when nothing went wrong any more."""
    found = []
    for stored in cluster.broker.commits:
        commit = log_pb2.Commit.FromString(stored.data)
        if commit.appended_at_us >= since_us:
            found += [
                f"{envelope.aggregate} shook hands again at {stored.sequence} for no reason"
                for envelope in commit.events
                if envelope.type == "fogbank.v1.NodeConnected"
            ]
    return found


def differing_states(cluster: Cluster) -> list[str]:
    """Compare the states of all who fold, and the ledger's tables, with a fold from nothing."""
    projection = Projection()
    fleet = projection.fleet
    for commit in _commits(cluster):
        projection.fold(commit)
    true = state_digest(fleet)
    found = [*wrong_sums(fleet), *kept_for_nobody(fleet)]
    for actor in cluster.actors:
        own = fleet_of(actor)
        if own is not None and state_digest(own) != true:
            found.append(f"{actor.name} has folded another state than the log says")
        elif own is not None:
            found += unsaid_changes(own)
    fresh = Database()
    if cluster.database.commits:
        tree = LogTree()
        for each in cluster.broker.commits:
            tree.take(each.writer.service, each.writer.instance, each.digest)
        fresh.apply(cluster.database.commits, projection.take(), tree.grown())
    if fresh.tables != cluster.database.tables:
        written = cluster.database.tables
        names = [name for name, rows in fresh.tables.items() if rows != written[name]]
        found.append(f"the ledger's tables differ from the log: {', '.join(names)}")
    if fresh.tree != cluster.database.tree:
        found.append("the tree that the ledger grew is not the log's")
    if fresh.changes != cluster.database.changes:
        found.append("the ledger's history of changes differs from the log's")
    found += differing_statuses(cluster, fresh, fleet)
    kept = [(row.sequence, bytes(row.data)) for row in cluster.database.commits]
    if kept != [(each.sequence, each.data) for each in cluster.broker.commits]:
        found.append("the ledger's copy of the log differs from the log")
    return found


def differing_statuses(cluster: Cluster, fresh: Database, fleet: FleetState) -> list[str]:
    """Compare where gateways see deployments stand with the tables of a fold from nothing.

    The tables also have what the fleet has forgotten.
    """
    known, rows = fleet.facts.deployments, fresh.tables["deployments"].values()
    true = {row.id: (row.exact_status, row.updated_at_us) for row in rows if row.id in known}
    latest = {
        row.deployment_id: change_of(row) for row in fresh.changes if row.deployment_id in known
    }
    found = []
    for gateway in cluster.gateways:
        fold = gateway.fold
        if fold is None:
            continue
        tracked = fold.tracker
        own = {
            each: (status, tracked.updated_at_us[each]) for each, status in tracked.current.items()
        }
        recent = {each: fold.recent_changes(each)[0] for each in own}
        pending = sum(status == DeploymentStatus.PENDING for status, _ in true.values())
        if (own, recent, fold.pending) != (true, latest, pending):
            found.append(f"{gateway.name} sees deployments stand otherwise than the log says")
    return found


def broken_answers(cluster: Cluster, clients: list[Client]) -> list[str]:
    """Compare what callers were told with what the log says now."""
    promised, deleted = _promised(cluster)
    asked = {owned.id for client in clients for owned in client.owned}
    found = [f"nobody asked for {each}" for each in sorted(promised.keys() - asked)]
    for client in clients:
        for owned in client.owned:
            if owned.doubtful or owned.open is not None:
                continue
            if owned.deleted != (owned.id in deleted):
                found.append(f"{owned.id} is deleted for its owner or in the log, not for both")
            elif not owned.deleted:
                told = _told(owned.wish.spec, owned.replicas)
                if promised.get(owned.id) != told:
                    found.append(
                        f"{owned.id} is {promised.get(owned.id)} in the log, its owner was told "
                        f"{told}"
                    )
    return found


def unasked_commands(cluster: Cluster, clients: list[Client]) -> list[str]:
    """Find commands in the log that no caller asked for, be it under another id."""
    asked: set[str] = set().union(*(client.asked() for client in clients))
    return [
        f"nobody asked for the {type(message).__name__} {envelope.event_id} at {position >> 16}"
        for position, envelope, message in _commands(cluster)
        if envelope.event_id not in asked
    ]


def _told(spec: DeploymentSpec, replicas: int) -> tuple[int, str, int, int]:
    """Return what commands change of a deployment."""
    return replicas, spec.container_image, spec.resources.cpu_millicores, spec.priority


def _said(spec: deployments_pb2.DeploymentSpec) -> tuple[int, str, int, int]:
    """Return the same of what the log says."""
    cpu = spec.resources.cpu_millicores
    return spec.replicas, spec.container_image, cpu, spec.priority


def _promised(cluster: Cluster) -> tuple[dict[str, tuple[int, str, int, int]], set[str]]:
    """Return what each deployment was last told to be, and those that were deleted."""
    promised: dict[str, tuple[int, str, int, int]] = {}
    versions: dict[str, int] = {}
    deleted: set[str] = set()
    for position, envelope, message in _commands(cluster):
        if isinstance(message, facts_pb2.DeploymentCreated):
            promised[envelope.event_id] = _said(message.spec)
            versions[envelope.event_id] = position
            continue
        known = message.deployment_id
        expected = envelope.command.expected_version
        if known not in promised or known in deleted or expected not in {0, versions[known]}:
            continue
        versions[known] = position
        if isinstance(message, facts_pb2.DeploymentDeleted):
            deleted.add(known)
        elif isinstance(message, facts_pb2.DeploymentUpdated):
            promised[known] = _said(message.spec)
        else:
            promised[known] = (message.replicas, *promised[known][1:])
    return promised, deleted


def _commands(cluster: Cluster) -> Iterator[tuple[int, log_pb2.EventEnvelope, Any]]:
    """Yield the commands of the log, the first of each id, with their positions."""
    seen: set[str] = set()
    for stored in cluster.broker.commits:
        if stored.writer.service != "gateway":
            continue
        for index, envelope in enumerate(log_pb2.Commit.FromString(stored.data).events):
            kind = envelope.type.rpartition(".")[2]
            if kind in _COMMANDS and envelope.event_id not in seen:
                seen.add(envelope.event_id)
                position = stored.sequence << 16 | index
                yield position, envelope, _COMMANDS[kind].FromString(envelope.payload)


_COMMANDS: dict[str, Any] = {
    "DeploymentCreated": facts_pb2.DeploymentCreated,
    "DeploymentScaled": facts_pb2.DeploymentScaled,
    "DeploymentUpdated": facts_pb2.DeploymentUpdated,
    "DeploymentDeleted": facts_pb2.DeploymentDeleted,
}


def overfull_machines(cluster: Cluster) -> list[str]:
    """Find machines on which more ran at once than they had room for."""
    return [
        f"{agent.name} ran {_amounts(most)} at once and has {_amounts(room)}"
        for agent in cluster.agents
        if not agent.machine.shrunk
        for room in (agent.machine.fingerprint.allocatable,)
        if not (most := _most_at_once(agent.machine)).fits_in(room)
    ]


def _most_at_once(machine: Machine) -> Resources:
    most = Resources()
    for ran in machine.history:
        together = total(
            [other for other in machine.history if other.began_s <= ran.began_s < other.ended_s]
        )
        most = Resources(
            max(most.cpu_millicores, together.cpu_millicores),
            max(most.memory_mib, together.memory_mib),
        )
    return most


def _amounts(room: Resources) -> str:
    return f"{room.cpu_millicores} millicores and {room.memory_mib} MiB"
