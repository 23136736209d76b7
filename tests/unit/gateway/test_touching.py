"""One thing's part of the log: nothing is left out, nothing else is in it."""

from __future__ import annotations

from functools import cache
from itertools import islice
from uuid import uuid5

import pytest

from fogbank.codec import decode_commit
from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import NAMESPACE
from fogbank.domain.resources import NOTHING
from services.gateway.core.touching import Kind, Touching, parse_thing, touching
from tests.support.mixed_story import MixedStory, tell


@cache
def story() -> MixedStory:
    return tell(41, events=260, nodes=6)


def read(thing: Touching, *, skip: bool) -> list[tuple[int, ev.Event]]:
    """Return what touches a thing; with `skip` only commits that may touch it are looked into."""
    found = []
    for commit, data in zip(story().log.commits, story().log.data, strict=True):
        if skip and not thing.may_touch(data):
            continue
        for envelope in commit.envelopes:
            part = thing.part_of(envelope)
            if part is not None:
                found.append((commit.sequence, part))
    return found


def read_narrowly(thing: Touching) -> list[tuple[int, ev.Event]]:
    """Return what touches a thing, of rounds that are read only as far."""
    found = []
    for commit, data in zip(story().log.commits, story().log.data, strict=True):
        narrow = decode_commit(
            commit.sequence, commit.service, commit.instance, data, outcomes=thing.is_among
        )
        for envelope in narrow.envelopes:
            part = thing.part_of(envelope)
            if part is not None:
                found.append((commit.sequence, part))
    return found


def test_a_round_that_is_read_only_as_far_says_the_same_of_a_thing() -> None:
    fleet = story().planners[0].fleet
    for kind, id_ in things(fleet):
        known = [thing for _ in range(2) if (thing := touching(fleet, kind, id_)) is not None]
        narrow = read_narrowly(known[0])
        assert narrow == read(known[1], skip=False) != []


def things(fleet: FleetState) -> list[tuple[Kind, str]]:
    return [
        *((Kind.DEPLOYMENT, id_) for id_ in fleet.facts.deployments),
        *((Kind.NODE, id_) for id_ in fleet.facts.nodes),
        *((Kind.REPLICA, id_) for id_ in islice(fleet.decisions.placements, 25)),
        *((Kind.USER, each.owner_id) for each in islice(fleet.facts.deployments.values(), 2)),
    ]


def test_a_commit_that_is_not_looked_into_holds_nothing() -> None:
    fleet = story().planners[0].fleet
    for kind, id_ in things(fleet):
        known = touching(fleet, kind, id_)
        again = touching(fleet, kind, id_)
        assert known is not None
        assert again is not None
        found = read(known, skip=True)
        assert found == read(again, skip=False), (kind, id_)
        assert found, (kind, id_)
        # Who doesn't know its replicas beforehand learns of them in time.
        assert read(Touching(kind, id_), skip=True) == found


def test_who_waits_for_a_replica_of_another_deployment_is_not_in_its_record() -> None:
    """The ledger's index has such a round under the one that waits; so it is where it is read."""
    placement = ev.Placement("theirs/0", 0, 1, "node", 1, starts_after=("mine/0",))
    placed = ev.DeploymentPlaced("theirs", 1, NOTHING, (placement,), ev.Considered())
    event = ev.RoundDecided(b"", 1, 1, "policy", b"", 1, 384, (), (placed,))
    envelope = EventEnvelope("round", event, "fleet", "scheduler/one", 1)
    assert Touching(Kind.REPLICA, "mine/0").part_of(envelope) is None
    assert Touching(Kind.REPLICA, "theirs/0").part_of(envelope) == event


class Searched(bytes):
    """Counts how often it is gone through for one thing."""

    times = 0

    def __contains__(self, needle: object) -> bool:
        self.times += 1
        return super().__contains__(needle)  # type: ignore[operator]


@pytest.mark.parametrize("node_id", ["edge-1", str(uuid5(NAMESPACE, "edge-1"))])
def test_a_commit_is_not_searched_for_each_replica_of_a_busy_node(node_id: str) -> None:
    replicas = [str(uuid5(NAMESPACE, str(number))) for number in range(1_000)]
    thing = Touching(Kind.NODE, node_id, replicas)
    elsewhere = Searched(f"$node/{uuid5(NAMESPACE, 'edge-2')}".encode())
    assert not thing.may_touch(elsewhere)
    assert elsewhere.times <= 1
    for named in (node_id, replicas[0], replicas[-1]):
        # Right after another id, and after what could be the beginning of one.
        for before in (replicas[7][:-1], f"{uuid5(NAMESPACE, 'other')}", "deadbeef", "deployment/"):
            assert thing.may_touch(f"{before}{named}beef".encode())


def test_a_deployment_has_its_outcomes_its_commands_and_what_is_said_of_its_replicas() -> None:
    fleet = story().planners[0].fleet
    for id_, decision in fleet.decisions.deployments.items():
        parts = [part for _, part in read(Touching(Kind.DEPLOYMENT, id_), skip=True)]
        outcomes = [
            outcome
            for part in parts
            if isinstance(part, ev.RoundDecided)
            for outcome in part.outcomes
        ]
        wanted = [
            outcome
            for commit in story().log.commits
            for envelope in commit.envelopes
            if isinstance(envelope.event, ev.RoundDecided)
            for outcome in envelope.event.outcomes
            if getattr(outcome, "deployment_id", "") == id_
            or any(each.deployment_id == id_ for each in getattr(outcome, "evictions", ()))
        ]
        assert outcomes == wanted
        seen = [
            each.replica_id
            for part in parts
            if isinstance(part, ev.NodeReported)
            for each in part.observations
        ]
        assert set(seen) <= set(decision.replica_ids)
        assert isinstance(parts[0], ev.DeploymentCreated)


@pytest.mark.parametrize("text", ["", "deployment", "deployment/", "policy/x", "/x"])
def test_what_has_no_record(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="touching: must be deployment/<id>"):
        parse_thing(text)


def test_things_that_there_never_were() -> None:
    fleet = story().planners[0].fleet
    assert touching(fleet, Kind.DEPLOYMENT, "x") is None
    assert touching(fleet, Kind.REPLICA, "x") is None
    assert touching(fleet, Kind.NODE, "x") is None
    for number in ("x", "999", "9" * 5_000):
        assert touching(fleet, Kind.CLUSTER, number) is None
        assert touching(fleet, Kind.ORGANIZATION, number) is None
    assert touching(fleet, Kind.NODE, "fog-0") is not None
