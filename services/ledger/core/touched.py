"""The things that each event touches: the rows of the index from a thing to its record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from fogbank.domain import events as ev
from fogbank.domain.envelope import SERVICE_ACCOUNT, USER, Commit, EventEnvelope
from fogbank.domain.fleet import FleetState
from fogbank.domain.tenancy import made_at
from fogbank.domain.verdict import Verdict

_USERS_REMEMBERED = 10_000


class ThingKind(IntEnum):
    """What a record can be of; a replica's is in its deployment's. The numbers are in the tables.

    `STANDING` is the part of a node's record that says whether it is there and reachable.
    """

    DEPLOYMENT = 1
    NODE = 2
    USER = 3
    CLUSTER = 4
    ORGANIZATION = 5
    STANDING = 6


class TouchRow(NamedTuple):
    """That an event touches a thing; `counts` is False for an event that is void.

    Clusters and organizations, which have numbers, stand under the UUID of that number.
    """

    kind: int
    id: str
    position: int
    counts: bool


_Thing = tuple[ThingKind, str]


def numbered(number: int) -> str:
    """Return the id under which a cluster or an organization stands."""
    return str(UUID(int=number))


def touch_rows(fleet: FleetState, commit: Commit, verdicts: Iterable[Verdict]) -> list[TouchRow]:
    """Return the rows of a commit that the fleet has just taken in, with the verdicts on it."""
    return [
        TouchRow(kind, id_, verdict.position, verdict.accepted)
        for envelope, verdict in zip(commit.envelopes, verdicts, strict=False)
        if envelope.event is not None
        for kind, id_ in dict.fromkeys(_things(fleet, envelope, envelope.event, verdict))
    ]


def _things(
    fleet: FleetState, envelope: EventEnvelope, event: ev.Event, verdict: Verdict
) -> Iterator[_Thing]:
    match event:
        case ev.RoundDecided():
            yield from _of_round(fleet, event)
        case ev.NodeReported():
            yield from _node(fleet, event.node_id)
            for seen in event.observations:
                placed = fleet.decisions.placements.get(seen.replica_id)
                if placed is not None:
                    yield ThingKind.DEPLOYMENT, placed.deployment_id
        case ev.NodeLoadChanged() | ev.NodeCapacityChanged():
            yield from _node(fleet, event.node_id)
        case _:
            yield from _of_command(fleet, envelope, event, verdict)


def _of_command(
    fleet: FleetState, envelope: EventEnvelope, event: ev.Event, verdict: Verdict
) -> Iterator[_Thing]:
    who, _, id_ = envelope.actor.partition("/")
    users = {id_ if who in {USER, SERVICE_ACCOUNT} else "", getattr(event, "owner_id", "")}
    match event:
        case ev.DeploymentCreated():
            yield from _deployment(fleet, envelope.event_id)
        case ev.DeploymentScaled() | ev.DeploymentUpdated() | ev.DeploymentDeleted():
            yield from _deployment(fleet, event.deployment_id)
            if isinstance(event, ev.DeploymentUpdated):
                yield from _left(fleet, event.deployment_id, verdict.position)
        case ev.OrganizationCreated() if verdict.accepted:
            made = made_at(fleet.facts.organizations, verdict.position)
            yield ThingKind.ORGANIZATION, numbered(made.id)
        case ev.ClusterCreated() if verdict.accepted:
            yield ThingKind.CLUSTER, numbered(made_at(fleet.facts.clusters, verdict.position).id)
            yield ThingKind.ORGANIZATION, numbered(event.organization_id)
        case ev.ClusterQuotaSet():
            yield from _cluster(fleet, event.cluster_id)
        case ev.OrganizationQuotaSet():
            yield from _organization(fleet, event.organization_id)
        case ev.MembershipSet():
            yield from _organization(fleet, event.organization_id)
            users.add(event.user_id)
        case (
            ev.NodeConnected()
            | ev.NodeCordoned()
            | ev.NodeUncordoned()
            | ev.NodeDraining()
            | ev.NodeRemoved()
        ):
            yield from _node(fleet, event.node_id, standing=True)
        case _:
            pass
    for user in users:
        if is_id(user):
            yield ThingKind.USER, user


def _of_round(fleet: FleetState, event: ev.RoundDecided) -> Iterator[_Thing]:
    for silent in event.observations:
        yield from _node(fleet, silent.node_id)
    for outcome in event.outcomes:
        match outcome:
            case ev.NodeOffline():
                yield from _node(fleet, outcome.node_id, standing=True)
            case ev.RebalanceEnded():
                pass
            case ev.DeploymentPlaced():
                yield from _known(fleet, outcome.deployment_id)
                for placement in outcome.placements:
                    yield from _node(fleet, placement.node_id)
                    yield from _nodes_of(fleet, [placement.replaces])
                for eviction in outcome.evictions:
                    yield from _known(fleet, eviction.deployment_id)
                    yield from _nodes_of(fleet, eviction.replica_ids)
            case ev.ReplicasReleased() | ev.ReplicasSuspended() | ev.ReplicasRestored():
                yield from _known(fleet, outcome.deployment_id)
                yield from _nodes_of(fleet, outcome.replica_ids)
            case _:
                yield from _known(fleet, outcome.deployment_id)


def _known(fleet: FleetState, deployment_id: str) -> Iterator[_Thing]:
    if deployment_id in fleet.facts.deployments:
        yield ThingKind.DEPLOYMENT, deployment_id


def _deployment(fleet: FleetState, deployment_id: str) -> Iterator[_Thing]:
    """Yield a deployment, and its cluster with the organization; those of commands only."""
    deployment = fleet.facts.deployments.get(deployment_id)
    if deployment is not None:
        yield ThingKind.DEPLOYMENT, deployment_id
        yield from _cluster(fleet, deployment.spec.cluster_id)


def _left(fleet: FleetState, deployment_id: str, position: int) -> Iterator[_Thing]:
    """Yield the cluster that a deployment left with a command, with its organization."""
    deployment = fleet.facts.deployments.get(deployment_id)
    if deployment is None or len(deployment.clusters) <= 1:
        return
    (_, before), (revision, _) = deployment.clusters[-2:]
    moved = deployment.revision_of(revision)
    if moved is not None and moved.position == position:
        yield from _cluster(fleet, before)


def _cluster(fleet: FleetState, cluster_id: int) -> Iterator[_Thing]:
    cluster = fleet.facts.clusters.get(cluster_id)
    if cluster is not None:
        yield ThingKind.CLUSTER, numbered(cluster_id)
        yield from _organization(fleet, cluster.organization_id)


def _organization(fleet: FleetState, organization_id: int) -> Iterator[_Thing]:
    if organization_id in fleet.facts.organizations:
        yield ThingKind.ORGANIZATION, numbered(organization_id)


def _node(fleet: FleetState, node_id: str, *, standing: bool = False) -> Iterator[_Thing]:
    if node_id in fleet.facts.nodes:
        yield ThingKind.NODE, node_id
        if standing:
            yield ThingKind.STANDING, node_id


def _nodes_of(fleet: FleetState, replica_ids: Iterable[str]) -> Iterator[_Thing]:
    for replica_id in replica_ids:
        placed = fleet.decisions.placements.get(replica_id)
        if placed is not None:
            yield ThingKind.NODE, placed.node_id


@lru_cache(_USERS_REMEMBERED)
def is_id(text: str) -> bool:
    """Tell whether a text is an id as the tables hold one."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
