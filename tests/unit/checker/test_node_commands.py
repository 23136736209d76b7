"""What operators say of nodes, as the checker reads it."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from fogbank.v1 import facts_pb2, rounds_pb2
from tests.unit.checker.building import Bytes, a_replica, an_id, on, releasing, seen


@pytest.fixture
def log() -> Bytes:
    return Bytes()


def moved(log: Bytes, deployment_id: str, node_id: str, replaces: str) -> None:
    placement = on(deployment_id, node_id, generation=2)
    placement.replaces = replaces
    log.round(log.placing(deployment_id, placement))


def drained_with_successor(log: Bytes, deadline_us: int = 0) -> tuple[str, str, str]:
    """Let a replica run on a draining node, with its successor placed on another."""
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first)
    log.report(first, seen(a_replica(web)))
    log.fact(facts_pb2.NodeDraining(node_id=first, deadline_us=deadline_us))
    moved(log, web, second, a_replica(web))
    return first, second, web


def test_a_move_off_a_draining_node(log: Bytes) -> None:
    _, second, web = drained_with_successor(log)
    log.report(second, seen(a_replica(web, generation=2)))
    log.round(releasing(web, a_replica(web)))
    assert log.rules() == []


def test_a_leaving_replica_is_not_released_before_its_successor_runs(log: Bytes) -> None:
    _, _, web = drained_with_successor(log)
    log.round(releasing(web, a_replica(web)))
    assert log.rules() == ["relieved"]


def test_but_it_is_at_the_deadline(log: Bytes) -> None:
    _, _, web = drained_with_successor(log, deadline_us=log.now_us)
    log.round(releasing(web, a_replica(web)))
    assert log.rules() == []


def test_a_slot_is_taken_over_only_from_who_has_it(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first)
    moved(log, web, second, a_replica(web, slot=7))
    assert log.rules() == ["slot-taken"]


@pytest.mark.parametrize(
    "closing", [facts_pb2.NodeCordoned, facts_pb2.NodeDraining, facts_pb2.NodeRemoved]
)
def test_closed_nodes_take_nothing(log: Bytes, closing: type[Message]) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.fact(closing(node_id=node))
    log.place(web, node)
    assert "closed-node" in log.rules()


def test_uncordoned_ones_do_again(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.fact(facts_pb2.NodeDraining(node_id=node))
    log.fact(facts_pb2.NodeUncordoned(node_id=node))
    log.place(web, node)
    assert log.rules() == []


def test_what_a_removed_node_had_may_be_placed_again(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first)
    log.fact(facts_pb2.NodeRemoved(node_id=first))
    log.node("first")  # refused
    log.round(log.placing(web, on(web, second, generation=2)))
    assert log.rules() == []
    offline = rounds_pb2.NodeOffline(node_id=first, epoch=log.epochs[first])
    log.round(rounds_pb2.Outcome(offline=offline))
    assert log.rules() == ["offline"]


def test_a_drained_node_is_empty_in_the_end_if_there_is_room(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.place(web, node)
    log.report(node, seen(a_replica(web)))
    log.fact(facts_pb2.NodeDraining(node_id=node))
    assert log.rules(settled=True) == []
    log.node("second")
    assert log.rules(settled=True) == ["still-there"]


def test_commands_on_nodes_that_there_are_not_count_for_nothing(log: Bytes) -> None:
    for kind in (facts_pb2.NodeCordoned, facts_pb2.NodeUncordoned, facts_pb2.NodeRemoved):
        log.fact(kind(node_id=an_id("nowhere")))
    assert log.check().counts.events_void == 3
