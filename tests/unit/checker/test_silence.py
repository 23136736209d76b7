"""For how long a node must have been silent until its replicas may be replaced."""

from fogbank.v1 import facts_pb2
from tests.unit.checker.building import Bytes, a_replica, suspending


def a_policy(period_ms: int, silent_periods: int) -> facts_pb2.PolicyActivated:
    event = facts_pb2.PolicyActivated()
    policy = event.policy
    policy.name, policy.strategy = "ours", "balanced"
    policy.heartbeat_period_ms, policy.silent_periods = period_ms, silent_periods
    policy.lost_after_ms, policy.busy_load_percent = 30_000, 90
    return event


def test_the_silence_of_a_large_fleet_lasts_longer() -> None:
    log = Bytes()
    node, web = log.node("first"), log.deploy("web")
    log.fact(a_policy(20_000, 2))
    log.node("second")
    log.place(web, node)
    log.lose(node)
    log.round(suspending(web, node, a_replica(web)))
    assert "suspended" in log.rules()


def test_removed_nodes_do_not_lengthen_it() -> None:
    log = Bytes()
    node, web = log.node("first"), log.deploy("web")
    log.fact(a_policy(1, 1_000))
    log.node("second")
    log.place(web, node)
    for number in range(100):
        removed = log.node(f"gone {number}")
        log.fact(facts_pb2.NodeRemoved(node_id=removed))
    log.lose(node)
    log.round(suspending(web, node, a_replica(web)))
    assert "suspended" not in log.rules()
