"""Slots that had a replica before are filled again one by one, those that were added together."""

from __future__ import annotations

import pytest

from tests.unit.checker.building import FAILED, Bytes, a_replica, on, seen


@pytest.fixture
def log() -> Bytes:
    return Bytes()


def test_what_had_a_replica_before_is_filled_again_one_by_one(log: Bytes) -> None:
    nodes, web = [log.node(name) for name in ("first", "second", "third")], log.deploy("web", 2)
    log.place(web, *nodes[:2])
    for slot, node in enumerate(nodes[:2]):
        log.report(node, seen(a_replica(web, slot), FAILED, final=True))
    log.round(log.placing(web, on(web, nodes[2], 1, 2)))
    assert log.rules() == []


def test_what_was_added_comes_whole_also_beside_what_had_a_replica_before(log: Bytes) -> None:
    nodes, web = [log.node(name) for name in ("first", "second", "third")], log.deploy("web")
    log.place(web, nodes[0])
    log.scale(web, 3)
    log.report(nodes[0], seen(a_replica(web), FAILED, final=True))
    log.round(log.placing(web, on(web, nodes[1], 0, 2), on(web, nodes[2], 1)))
    assert log.rules() == ["all-or-nothing"]
