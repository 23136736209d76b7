"""One thing's part of the log: the events that touch it, and of rounds only what concerns it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from enum import StrEnum

from fogbank.domain import events as ev
from fogbank.domain.decisions import DeploymentDecision
from fogbank.domain.envelope import SERVICE_ACCOUNT, USER, EventEnvelope
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import replica_id, replica_ids
from fogbank.domain.views import DeploymentView
from services.gateway.core.whole_numbers import whole_number

# As ids are written. Looks ahead, so that none hides in what another match took.
_UUID = re.compile(rb"(?=([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}))")
_UUID_LENGTH = 36
# As texts for people show ids, or more of one.
_SHORT_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,27}")


class Kind(StrEnum):
    """What a record can be of."""

    DEPLOYMENT = "deployment"
    REPLICA = "replica"
    NODE = "node"
    USER = "user"
    CLUSTER = "cluster"
    ORGANIZATION = "organization"

    @property
    def numbered(self) -> bool:
        """Tell whether its ids are numbers: only the ledger finds what touches such a thing."""
        return self in {Kind.CLUSTER, Kind.ORGANIZATION}


class Touching:
    """Tells what of each event touches one thing.

    `replica_ids` are the thing's replicas as far as they are known: a deployment's, or those that
    were ever placed on a node. Rounds that come by add to them. Of clusters and organizations all
    that the ledger names touches them.
    """

    def __init__(self, kind: Kind, id_: str, replica_ids: Iterable[str] = ()) -> None:
        self.kind = kind
        self.id = id_
        self._replica_ids: set[str] = set()
        # What a commit's bytes are searched for: UUIDs all at once, however many there are.
        self._uuids: set[bytes] = set()
        self._other_needles: list[bytes] = []
        self._seek(id_)
        self._add([*replica_ids, id_] if kind is Kind.REPLICA else replica_ids)

    def has(self, replica_id: str) -> bool:
        """Tell whether a replica is one of the thing's that are known."""
        return replica_id in self._replica_ids

    def may_touch(self, data: bytes) -> bool:
        """Tell whether a commit's bytes name the thing or a replica of it; nothing else touches."""
        return not self._uuids.isdisjoint(_UUID.findall(data)) or any(
            needle in data for needle in self._other_needles
        )

    def is_among(self, ids: AbstractSet[str]) -> bool:
        """Tell whether the thing, or a replica of it that is known, is among some ids."""
        return self.id in ids or not self._replica_ids.isdisjoint(ids)

    def part_of(self, envelope: EventEnvelope) -> ev.Event | None:
        """Return the event, or what of it touches the thing; None if nothing does."""
        event = envelope.event
        if self.kind.numbered:
            return event
        if isinstance(event, ev.RoundDecided):
            return self._of_round(event)
        if self.kind is Kind.USER:
            return event if self._of_user(envelope) else None
        if isinstance(event, ev.NodeReported):
            return self._of_report(event)
        if self.kind is Kind.REPLICA:
            return None
        same = envelope.aggregate == f"{self.kind}/{self.id}"
        named = getattr(event, f"{self.kind}_id", "") == self.id
        created = self.kind is Kind.DEPLOYMENT and envelope.event_id == self.id
        return event if same or named or created else None

    def _of_user(self, envelope: EventEnvelope) -> bool:
        event = envelope.event
        return self.id in {
            envelope.actor.removeprefix(f"{USER}/").removeprefix(f"{SERVICE_ACCOUNT}/"),
            getattr(event, "owner_id", ""),
            getattr(event, "user_id", ""),
        }

    def _of_report(self, event: ev.NodeReported) -> ev.Event | None:
        if self.kind is Kind.NODE:
            return event if event.node_id == self.id else None
        seen = tuple(each for each in event.observations if each.replica_id in self._replica_ids)
        if len(seen) == len(event.observations):
            return event if seen else None
        return replace(event, observations=seen) if seen else None

    def _of_round(self, event: ev.RoundDecided) -> ev.Event | None:
        outcomes = tuple(each for each in event.outcomes if self._concerns(each))
        silent = tuple(
            each
            for each in event.observations
            if self.kind is Kind.NODE and each.node_id == self.id
        )
        if not outcomes and not silent:
            return None
        raised = tuple(each for each in event.raised if each == self.id)
        return replace(event, outcomes=outcomes, observations=silent, raised=raised)

    def _concerns(self, outcome: ev.Outcome) -> bool:
        match self.kind:
            case Kind.DEPLOYMENT:
                return self._concerns_deployment(outcome)
            case Kind.NODE:
                return self._concerns_node(outcome)
            case Kind.REPLICA:
                return self._names_replica(outcome)
        return False

    def _concerns_deployment(self, outcome: ev.Outcome) -> bool:
        own = getattr(outcome, "deployment_id", "") == self.id
        if isinstance(outcome, ev.DeploymentPlaced):
            if own:
                self._add(each.replica_id for each in outcome.placements)
            return own or any(each.deployment_id == self.id for each in outcome.evictions)
        return own

    def _concerns_node(self, outcome: ev.Outcome) -> bool:
        if isinstance(outcome, ev.DeploymentPlaced):
            here = [each.replica_id for each in outcome.placements if each.node_id == self.id]
            self._add(here)
            return bool(here) or self._names_replica(outcome)
        return getattr(outcome, "node_id", "") == self.id or self._names_replica(outcome)

    def _names_replica(self, outcome: ev.Outcome) -> bool:
        named = set(getattr(outcome, "replica_ids", ()))
        if isinstance(outcome, ev.DeploymentPlaced):
            for placement in outcome.placements:
                named |= {placement.replica_id, placement.replaces}
            for eviction in outcome.evictions:
                named.update(eviction.replica_ids)
        return not named.isdisjoint(self._replica_ids)

    def _add(self, replica_ids: Iterable[str]) -> None:
        for known_id in replica_ids:
            if known_id not in self._replica_ids:
                self._replica_ids.add(known_id)
                self._seek(known_id)

    def _seek(self, id_: str) -> None:
        needle = id_.encode()
        if len(needle) == _UUID_LENGTH and _UUID.match(needle):
            self._uuids.add(needle)
        else:
            self._other_needles.append(needle)


def parse_thing(text: str) -> tuple[Kind, str]:
    """Return what a thing's name stands for, as `deployment/<id>` or `cluster/<number>`.

    Raises:
        InvalidArgumentError: it is none of these.
    """
    kind, _, id_ = text.partition("/")
    if kind not in set(Kind) or not id_:
        raise InvalidArgumentError.of_field(
            "touching",
            "must be deployment/<id>, replica/<id>, node/<id or name>, "
            f"user/<id or name>, cluster/<number> or organization/<number>, was {text[:100]!r}",
        )
    return Kind(kind), id_


def placed_in_all(view: DeploymentView) -> list[str]:
    """Return the ids of all replicas that a deleted deployment ever had.

    It is shown with the last one of each slot.
    """
    return [
        replica_id(view.id, last.slot, generation)
        for last in view.replicas
        for generation in range(1, last.generation + 1)
    ]


def replica_called(fleet: FleetState, id_: str) -> str:
    """Return the id of the replica that has it, or whose id alone begins so; empty for none.

    Raises:
        InvalidArgumentError: the ids of several begin so.
    """
    id_ = id_.lower()
    if id_ in fleet.decisions.placements or not _SHORT_ID.fullmatch(id_):
        return id_
    found = [each.id for each in fleet.decisions.placements.values() if each.id.startswith(id_)]
    if len(found) > 1:
        raise InvalidArgumentError.of_field(
            "touching", f"must be one replica: the ids of {len(found)} begin with {id_}"
        )
    return found[0] if found else ""


def placed_ever(decision: DeploymentDecision) -> Iterator[str]:
    """Yield the ids of all replicas that a deployment ever had, forgotten ones too."""
    name = replica_ids(decision.id)
    for slot, last in list(decision.generations.items()):
        for generation in range(1, last + 1):
            yield name(slot, generation)


def touching(fleet: FleetState, kind: Kind, id_: str) -> Touching | None:
    """Return what follows a thing through the log; None if the fleet never had it.

    Users aren't in the fleet: whoever did nothing has an empty record.
    """
    match kind:
        case Kind.DEPLOYMENT:
            id_ = id_.lower()
            if id_ not in fleet.facts.deployments:
                return None
            decision = fleet.decisions.deployments.get(id_)
            return Touching(kind, id_, placed_ever(decision) if decision is not None else ())
        case Kind.REPLICA:
            return Touching(kind, id_) if id_ in fleet.decisions.placements else None
        case Kind.NODE:
            named = [node.id for node in fleet.facts.nodes.values() if node.name == id_]
            node_id = id_.lower() if id_.lower() in fleet.facts.nodes else (named or [""])[-1]
            if not node_id:
                return None
            placed = fleet.decisions.placements.values()
            return Touching(kind, node_id, [each.id for each in placed if each.node_id == node_id])
        case Kind.USER:
            return Touching(kind, id_.lower()) if id_ else None
        case Kind.CLUSTER | Kind.ORGANIZATION:
            known = fleet.facts.clusters if kind is Kind.CLUSTER else fleet.facts.organizations
            return Touching(kind, id_) if whole_number(id_) in known else None
