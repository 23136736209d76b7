"""The things that each commit touches: the rows of the index from a thing to its record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import cast
from uuid import UUID, uuid5

from fogbank.domain import events as ev
from fogbank.domain.envelope import SERVICE_ACCOUNT, USER, Commit, EventEnvelope
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import NAMESPACE
from fogbank.domain.members import at_hand
from fogbank.domain.position import index_of
from fogbank.domain.tenancy import made_at
from fogbank.domain.verdict import Verdict
from services.ledger.core.rows import TableRow

_IDS_REMEMBERED = 10_000


@at_hand
class ThingKind(IntEnum):
    """What a record can be of; a replica's is in its deployment's. The numbers are in the tables.

    A node's record is in two parts, `NODE` and `LOAD`: what it measured of its load, which is most
    of it. `STANDING` has once more what says which host it is and whether it is there and
    reachable; `NODE_NAME` has, for each name, the handshakes of nodes that called themselves so.
    Policies are all under one id.
    """

    DEPLOYMENT = 1
    NODE = 2
    USER = 3
    CLUSTER = 4
    ORGANIZATION = 5
    STANDING = 6
    LOAD = 7
    NODE_NAME = 8
    POLICY = 9


class TouchRow(TableRow, frozen=True):
    """That a commit touches a thing: its first event that does, which is void unless it `counts`.

    `more` are the indexes of its other events that do, those of void ones negative; None if there
    are none. Clusters and organizations, which have numbers, stand under the UUID of that number,
    policies under that of 0, and names of nodes under one made of the name.
    """

    kind: int
    id: str
    position: int
    counts: bool
    more: Sequence[int] | None = None

    @property
    def events(self) -> list[tuple[int, bool]]:
        """The indexes of all these events in order, each with whether it counts."""
        others = [(abs(index), index > 0) for index in self.more or ()]
        return [(index_of(self.position), self.counts), *others]


_Thing = tuple[ThingKind, str]


@lru_cache(_IDS_REMEMBERED)
def numbered(number: int) -> str:
    """Return the id under which a cluster or an organization stands."""
    return str(UUID(int=number))


@lru_cache(_IDS_REMEMBERED)
def named(name: str) -> str:
    """Return the id under which a name of nodes stands."""
    return str(uuid5(NAMESPACE, f"node name\n{name}"))


class Touched:
    """The things that a commit touches, each with its events that do: positions, void negative."""

    def __init__(self, fleet: FleetState, commit: Commit, verdicts: Iterable[Verdict]) -> None:
        """Find those of a commit that the fleet has just taken in, with the verdicts on it."""
        self._marks = _marks_of(fleet, commit, verdicts)

    def take(self, kind: ThingKind, id_: str) -> int | None:
        """Return the index of the only event that touches a thing, if it counts; then its row goes.

        What else a commit leads to for that thing bears the index.
        """
        marks = self._marks.get((kind, id_), ())
        if len(marks) != 1 or marks[0] <= 0:
            return None
        del self._marks[kind, id_]
        return index_of(marks[0])

    @property
    def rows(self) -> list[TouchRow]:
        """A row for each thing that was not taken."""
        return [
            TouchRow(kind, id_, abs(marks[0]), marks[0] > 0, _indexes(marks))
            for (kind, id_), marks in self._marks.items()
        ]


def touch_rows(fleet: FleetState, commit: Commit, verdicts: Iterable[Verdict]) -> list[TouchRow]:
    """Return the rows of a commit that the fleet has just taken in, with the verdicts on it."""
    return Touched(fleet, commit, verdicts).rows


def _marks_of(
    fleet: FleetState, commit: Commit, verdicts: Iterable[Verdict]
) -> dict[_Thing, Sequence[int]]:
    touched: dict[_Thing, Sequence[int]] = {}
    for envelope, verdict in zip(commit.envelopes, verdicts, strict=False):
        if envelope.event is None:
            continue
        mark = verdict.position if verdict.accepted else -verdict.position
        things = _things(fleet, envelope, envelope.event, verdict)
        if len(commit.envelopes) == 1:
            return dict.fromkeys(things, (mark,))
        for thing in things:
            marks = touched.get(thing)
            if marks is None:
                touched[thing] = [mark]
            elif marks[-1] != mark:
                cast("list[int]", marks).append(mark)
    return touched


def _indexes(marks: Sequence[int]) -> list[int] | None:
    """Return the indexes of all positions but the first, those of void events negative."""
    if len(marks) == 1:
        return None
    return [index_of(mark) if mark > 0 else -index_of(-mark) for mark in marks[1:]]


def _things(
    fleet: FleetState, envelope: EventEnvelope, event: ev.Event, verdict: Verdict
) -> Iterable[_Thing]:
    """Return what an event touches, some of it perhaps more than once."""
    match event:
        case ev.NodeLoadChanged():
            known = event.node_id in fleet.facts.nodes
            return ((ThingKind.LOAD, event.node_id),) if known else ()
        case ev.NodeCapacityChanged():
            return _standing(fleet, event.node_id)
        case ev.NodeReported():
            placements, things = fleet.decisions.placements, [*_node(fleet, event.node_id)]
            for each in event.observations:
                placed = placements.get(each.replica_id)
                if placed is not None:
                    things.append((ThingKind.DEPLOYMENT, placed.deployment_id))
            return things
        case ev.RoundDecided():
            return _of_round(fleet, event)
        case _:
            users = _users(envelope, event)
            return [*_of_command(fleet, envelope, event, verdict), *users]


def _users(envelope: EventEnvelope, event: ev.Event) -> Iterable[_Thing]:
    member_id = event.user_id if isinstance(event, ev.MembershipSet) else ""
    return _users_named(envelope.actor, getattr(event, "owner_id", ""), member_id)


@lru_cache(_IDS_REMEMBERED)
def _users_named(actor: str, owner_id: str, member_id: str) -> Iterable[_Thing]:
    who, _, id_ = actor.partition("/")
    users = (id_ if who in {USER, SERVICE_ACCOUNT} else "", owner_id, member_id)
    return tuple([(ThingKind.USER, user) for user in users if is_id(user)])


def _of_command(
    fleet: FleetState, envelope: EventEnvelope, event: ev.Event, verdict: Verdict
) -> Iterable[_Thing]:
    match event:
        case ev.DeploymentCreated():
            return _deployment(fleet, envelope.event_id)
        case ev.DeploymentScaled() | ev.DeploymentDeleted():
            return _deployment(fleet, event.deployment_id)
        case ev.DeploymentUpdated():
            known = _deployment(fleet, event.deployment_id)
            return [*known, *_left(fleet, event.deployment_id, verdict.position)]
        case ev.OrganizationCreated() if verdict.accepted:
            made = made_at(fleet.facts.organizations, verdict.position)
            return [(ThingKind.ORGANIZATION, numbered(made.id))]
        case ev.ClusterCreated() if verdict.accepted:
            cluster = made_at(fleet.facts.clusters, verdict.position)
            return _cluster(fleet, cluster.id)
        case ev.ClusterQuotaSet():
            return _cluster(fleet, event.cluster_id)
        case ev.OrganizationQuotaSet() | ev.MembershipSet():
            return _organization(fleet, event.organization_id)
        case ev.NodeConnected():
            known = _standing(fleet, event.node_id)
            return [*known, (ThingKind.NODE_NAME, named(event.name))] if known else ()
        case ev.PolicyActivated():
            return ((ThingKind.POLICY, numbered(0)),)
        case ev.NodeCordoned() | ev.NodeUncordoned() | ev.NodeDraining() | ev.NodeRemoved():
            return _standing(fleet, event.node_id)
        case _:
            return ()


def _of_round(fleet: FleetState, event: ev.RoundDecided) -> list[_Thing]:
    things = [thing for silent in event.observations for thing in _node(fleet, silent.node_id)]
    nodes = fleet.facts.nodes
    for outcome in event.outcomes:
        match outcome:
            case ev.NodeOffline():
                things += _standing(fleet, outcome.node_id)
            case ev.RebalanceEnded():
                pass
            case ev.DeploymentPlaced():
                things += _known(fleet, outcome.deployment_id)
                for placement in outcome.placements:
                    if placement.node_id in nodes:
                        things.append((ThingKind.NODE, placement.node_id))
                    if placement.replaces:
                        things += _nodes_of(fleet, [placement.replaces])
                for eviction in outcome.evictions:
                    things += _known(fleet, eviction.deployment_id)
                    things += _nodes_of(fleet, eviction.replica_ids)
            case ev.ReplicasReleased() | ev.ReplicasSuspended() | ev.ReplicasRestored():
                things += _known(fleet, outcome.deployment_id)
                things += _nodes_of(fleet, outcome.replica_ids)
            case _:
                things += _known(fleet, outcome.deployment_id)
    return things


def _known(fleet: FleetState, deployment_id: str) -> Iterable[_Thing]:
    known = deployment_id in fleet.facts.deployments
    return ((ThingKind.DEPLOYMENT, deployment_id),) if known else ()


def _deployment(fleet: FleetState, deployment_id: str) -> Iterable[_Thing]:
    """Return a deployment, and its cluster with the organization; those of commands only."""
    deployment = fleet.facts.deployments.get(deployment_id)
    if deployment is None:
        return ()
    return [(ThingKind.DEPLOYMENT, deployment_id), *_cluster(fleet, deployment.spec.cluster_id)]


def _left(fleet: FleetState, deployment_id: str, position: int) -> Iterable[_Thing]:
    """Return the cluster that a deployment left with a command, with its organization."""
    deployment = fleet.facts.deployments.get(deployment_id)
    if deployment is None or len(deployment.clusters) <= 1:
        return ()
    (_, before), (revision, _) = deployment.clusters[-2:]
    moved = deployment.revision_of(revision)
    return _cluster(fleet, before) if moved is not None and moved.position == position else ()


def _cluster(fleet: FleetState, cluster_id: int) -> Iterable[_Thing]:
    cluster = fleet.facts.clusters.get(cluster_id)
    return _cluster_of(cluster_id, cluster.organization_id) if cluster is not None else ()


@lru_cache(_IDS_REMEMBERED)
def _cluster_of(cluster_id: int, organization_id: int) -> Iterable[_Thing]:
    return (
        (ThingKind.CLUSTER, numbered(cluster_id)),
        (ThingKind.ORGANIZATION, numbered(organization_id)),
    )


def _organization(fleet: FleetState, organization_id: int) -> Iterable[_Thing]:
    known = organization_id in fleet.facts.organizations
    return ((ThingKind.ORGANIZATION, numbered(organization_id)),) if known else ()


def _node(fleet: FleetState, node_id: str) -> Iterable[_Thing]:
    return ((ThingKind.NODE, node_id),) if node_id in fleet.facts.nodes else ()


def _standing(fleet: FleetState, node_id: str) -> Iterable[_Thing]:
    known = node_id in fleet.facts.nodes
    return ((ThingKind.NODE, node_id), (ThingKind.STANDING, node_id)) if known else ()


def _nodes_of(fleet: FleetState, replica_ids: Iterable[str]) -> list[_Thing]:
    placements = fleet.decisions.placements
    placed = [placements.get(replica_id) for replica_id in replica_ids]
    return [(ThingKind.NODE, each.node_id) for each in placed if each is not None]


@lru_cache(_IDS_REMEMBERED)
def is_id(text: str) -> bool:
    """Tell whether a text is an id as the tables hold one."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
