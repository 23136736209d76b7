"""What `fog audit log` says of an event depends on whose record it is told in."""

from typing import Any

import pytest

from fogbank.cli.record_lines import lines

NODE, OTHER = "11111111-0000", "22222222-0000"
_NAMES = {NODE: "edge-1", OTHER: "edge-2", "d1": "web", "d2": "jobs"}


def named(kind: str, id_: str) -> str:
    return "" if kind == "user" else _NAMES[id_]


def told(kind: str, aggregate: str, thing: str, **payload: Any) -> list[str]:
    event = {"type": f"fogbank.v1.{kind}", "aggregate": aggregate, "actor": "user/u1"}
    return list(lines(event | {"payload": payload}, thing, named))


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        ("user/u1", "node cordoned edge-1 by user/u1"),
        (f"node/{NODE}", "node cordoned by user/u1"),
    ],
)
def test_what_a_command_was_about_is_named_where_the_record_is_not_its_own(
    thing: str, said: str
) -> None:
    assert told("NodeCordoned", f"node/{NODE}", thing) == [said]


def test_what_came_to_nothing_is_told_as_such() -> None:
    event = {"type": "fogbank.v1.NodeCordoned", "aggregate": f"node/{NODE}", "actor": "user/u1"}
    void = event | {"payload": {}, "void": True}
    said = "node cordoned by user/u1"
    assert list(lines(void, f"node/{NODE}", named)) == ["void, without effect:", said]
    assert list(lines(void | {"void": False}, f"node/{NODE}", named)) == [said]


def test_a_user_s_record_names_the_deployment() -> None:
    (said,) = told("DeploymentScaled", "deployment/d1", "user/u1", replicas=3)
    assert said == "deployment scaled web by user/u1: replicas 3"


def test_the_records_of_a_node_and_of_a_replica_count_what_else_was_placed() -> None:
    placements = [
        {"replica_id": "aaaaaaaa-1", "slot": 0, "node_id": OTHER, "score": 7},
        {"replica_id": "bbbbbbbb-1", "slot": 1, "node_id": NODE, "score": 7},
        {"replica_id": "bbbbbbbb-11", "slot": 2, "node_id": OTHER, "score": 7},
        {"replica_id": "dddddddd-1", "slot": 3, "node_id": OTHER, "replaces": "eeeeeeee-1"},
    ]
    outcome = {"placed": {"deployment_id": "d1", "placements": placements}}
    assert told("RoundDecided", "fleet", f"node/{NODE}", outcomes=[outcome])[:-1] == [
        "replica bbbbbbbb of web, slot 1, placed on edge-1, score 7",
        "replica dddddddd of web, slot 3, placed on edge-2, score 0, in the place of eeeeeeee",
        "2 other replicas of web placed in the same breath",
    ]
    replica = told("RoundDecided", "fleet", "replica/bbbbbbbb-1", outcomes=[outcome])
    assert [line[:16] for line in replica[:-1]] == ["replica bbbbbbbb", "3 other replicas"]
    everywhere = told("RoundDecided", "fleet", "deployment/d1", outcomes=[outcome])
    assert len(everywhere) == len(placements) + 1


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        ("deployment/d1", "replica aaaaaaaa of jobs evicted for it"),
        ("deployment/d3", "replica aaaaaaaa of jobs evicted for web"),
        (f"node/{NODE}", "replica aaaaaaaa of jobs evicted for web"),
        ("deployment/d2", "replica aaaaaaaa evicted: preempted by web"),
    ],
)
def test_who_gave_way_is_told_with_for_whom(thing: str, said: str) -> None:
    evictions = [{"deployment_id": "d2", "replica_ids": ["aaaaaaaa-1"]}]
    outcome = {"placed": {"deployment_id": "d1", "evictions": evictions}}
    assert told("RoundDecided", "fleet", thing, outcomes=[outcome])[0] == said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("REJECTED", "is rejected for good: image not found"),
        ("FAILED", "is failed for good, exit code 3: image not found"),
    ],
)
def test_what_never_started_has_no_exit_code(state: str, said: str) -> None:
    seen = {"replica_id": "aaaaaaaa-1", "state": f"REPLICA_STATE_{state}", "final": True}
    seen |= {"reason": "image not found"} | ({"exit_code": 3} if state == "FAILED" else {})
    (line,) = told(
        "NodeReported", f"node/{NODE}", "deployment/d1", node_id=NODE, observations=[seen]
    )
    assert line == f"edge-1 says: replica aaaaaaaa {said}"
