"""Replicas given up against the rules of their deployment for nodes that are cut off."""

import pytest

from fogbank.v1 import deployments_pb2
from tests.unit.checker.building import Bytes, a_replica, suspending


@pytest.mark.parametrize(
    ("rules", "late_us"),
    [
        (deployments_pb2.DisconnectRules(lost_after_ms=40_000), 10_000_000),
        (deployments_pb2.DisconnectRules(stop_on_client_after_ms=20_000), 1_000),
        (deployments_pb2.DisconnectRules(replace=False), 1 << 40),
    ],
)
def test_suspended_only_as_its_own_rules_say(
    rules: deployments_pb2.DisconnectRules, late_us: int
) -> None:
    log = Bytes()
    node, web = log.node("first"), log.deploy("web", disconnect=rules)
    log.node("second")
    log.place(web, node)
    log.lose(node)
    log.now_us += late_us - 1
    log.round(suspending(web, node, a_replica(web)))
    assert log.rules() == ["suspended"]


@pytest.mark.parametrize(("replaced", "found"), [(True, ["not-running"]), (False, [])])
def test_in_the_end_a_slot_is_empty_only_if_its_replica_is_not_to_wait_for_its_node(
    replaced: bool, found: list[str]
) -> None:
    log = Bytes()
    rules = deployments_pb2.DisconnectRules(replace=replaced)
    node, web = log.node("first"), log.deploy("web", disconnect=rules)
    log.node("second")
    log.place(web, node)
    log.lose(node)
    assert log.rules(settled=True) == found
