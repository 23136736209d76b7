"""What rounds do: each test plants one violation."""

import pytest

from fogbank.v1 import deployments_pb2, facts_pb2, resources_pb2, rounds_pb2
from tests.unit.checker.building import (
    COMPLETE,
    FAILED,
    REJECTED,
    Bytes,
    a_replica,
    an_id,
    deferring,
    failing,
    on,
    releasing,
    restoring,
    room,
    seen,
    suspending,
)


@pytest.fixture
def log() -> Bytes:
    return Bytes()


def test_facts_after_facts_to_are_not_the_input(log: Bytes) -> None:
    """The deployment is deleted between look and round: no fault; and a node seen too early is."""
    node, web = log.node("first"), log.deploy("web")
    looked = log.last
    outcome = log.placing(web, on(web, node))
    log.delete(web)
    log.round(outcome, facts_to=looked)
    log.round(releasing(web, a_replica(web)))
    assert log.rules() == []


def test_a_node_that_the_input_does_not_know(log: Bytes) -> None:
    web = log.deploy("web")
    looked = log.last
    node = log.node("late")
    log.round(log.placing(web, on(web, node)), facts_to=looked)
    assert log.rules() == ["unknown-node"]


def test_more_than_a_node_has(log: Bytes) -> None:
    node = log.node("first", cpu=1500)
    one, two = log.deploy("one"), log.deploy("two")
    log.place(one, node)
    log.place(two, node)
    assert log.rules() == ["overbooked"]


def test_more_than_a_node_has_within_one_round(log: Bytes) -> None:
    node = log.node("first", cpu=1500)
    one, two = log.deploy("one"), log.deploy("two")
    log.round(log.placing(one, on(one, node)), log.placing(two, on(two, node)))
    assert log.rules() == ["overbooked"]


def test_a_node_that_shrank_may_stay_over_but_takes_nothing(log: Bytes) -> None:
    node = log.node("first")
    one, two = log.deploy("one", cpu=2000), log.deploy("two")
    log.place(one, node)
    log.shrink(node, 1000)
    log.round()
    assert log.rules() == []
    log.place(two, node)
    assert log.rules() == ["overbooked"]


def test_an_offline_node_takes_nothing_until_it_is_back(log: Bytes) -> None:
    node = log.node("first")
    one, two = log.deploy("one"), log.deploy("two")
    log.silence(node)
    log.place(one, node)
    assert log.rules() == ["offline-node"]
    log.node("first")
    log.place(two, node)
    assert log.rules() == ["offline-node"]


def test_a_busy_node_takes_nothing(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.fact(facts_pb2.NodeLoadChanged(node_id=node, epoch=log.epochs[node], cpu_percent=91))
    log.place(web, node)
    assert log.rules() == ["busy-node"]


@pytest.mark.parametrize(
    ("attribute", "operator", "values", "met"),
    [
        ("region", deployments_pb2.CONSTRAINT_OPERATOR_EQUAL, ["us-east"], True),
        ("region", deployments_pb2.CONSTRAINT_OPERATOR_EQUAL, ["us-west"], False),
        ("region", deployments_pb2.CONSTRAINT_OPERATOR_NOT_EQUAL, ["us-east"], False),
        ("label.ssd", deployments_pb2.CONSTRAINT_OPERATOR_NOT_EQUAL, ["yes"], True),
        ("node", deployments_pb2.CONSTRAINT_OPERATOR_IN, ["first", "second"], True),
        ("arch", deployments_pb2.CONSTRAINT_OPERATOR_IN, ["arm64"], False),
        ("label.ssd", deployments_pb2.CONSTRAINT_OPERATOR_EXISTS, [], False),
    ],
)
def test_constraints_hold(
    log: Bytes,
    attribute: str,
    operator: deployments_pb2.ConstraintOperator.ValueType,
    values: list[str],
    met: bool,
) -> None:
    constraint = deployments_pb2.Constraint(attribute=attribute, operator=operator, values=values)
    node, web = log.node("first"), log.deploy("web", constraints=[constraint])
    log.place(web, node)
    assert log.rules() == ([] if met else ["constraint"])


def test_the_gpu_model_holds(log: Bytes) -> None:
    node, web = log.node("first", gpu_model="T4"), log.deploy("web", gpu_model="A100")
    log.place(web, node)
    assert log.rules() == ["constraint"]


def test_resources_are_those_of_the_spec(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.round(log.placing(web, on(web, node), resources=room(500)))
    assert log.rules() == ["resources"]


def test_a_deployment_nobody_asked_for(log: Bytes) -> None:
    ghost = an_id("ghost")
    log.versions[ghost], log.asks[ghost] = 1, resources_pb2.Resources()
    log.place(ghost, log.node("first"))
    assert log.rules() == ["unknown-deployment"]


def test_a_deleted_deployment_is_not_placed(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.delete(web)
    log.place(web, node)
    assert log.rules() == ["deleted"]


def test_the_version_looked_at_is_that_of_the_input(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web", 2)
    old = log.versions[web]
    log.scale(web, 1)
    log.round(log.placing(web, on(web, node), version=old))
    assert log.rules() == ["version"]


def test_all_replicas_or_none(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web", 2)
    log.place(web, node)
    assert log.rules() == ["all-or-nothing"]


def test_slots_lie_within_the_replicas(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first, second)
    assert log.rules() == ["slot-range"]


def test_no_slot_twice(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.round(log.placing(web, on(web, first), on(web, second, 0, 2)))
    assert log.rules() == ["slot-taken"]


def test_a_slot_is_filled_again_only_when_its_replica_has_ended(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first)
    log.report(first, seen(a_replica(web), FAILED, final=True))
    log.round(log.placing(web, on(web, second, 0, 2)))
    assert log.rules() == []
    log.round(log.placing(web, on(web, first, 0, 3)))
    assert log.rules() == ["slot-taken"]


def test_a_slot_that_completed_is_done(log: Bytes) -> None:
    node, job = log.node("first"), log.deploy("job")
    log.place(job, node)
    log.report(node, seen(a_replica(job), COMPLETE, final=True))
    log.round(log.placing(job, on(job, node, 0, 2)))
    assert log.rules() == ["slot-taken"]


def test_one_replica_of_a_deployment_per_node(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web", 2)
    log.place(web, node, node)
    assert log.rules() == ["colocation"]


def test_unless_it_allows_colocation(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web", 2, allow_colocation=True)
    log.place(web, node, node)
    assert log.rules() == []


def test_replica_ids_are_derived(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.round(log.placing(web, on(web, node, replica_id=an_id("made up"))))
    assert log.rules() == ["replica-id"]


def test_generations_grow_by_one(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.round(log.placing(web, on(web, node, 0, 2)))
    assert log.rules() == ["generation"]


def test_released_once_and_only_what_is_there(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.place(web, node)
    log.round(releasing(web, a_replica(web)))
    assert log.rules() == []
    log.round(releasing(web, a_replica(web), an_id("ghost")))
    assert log.rules() == ["released", "unknown-replica"]


def test_suspended_only_on_a_lost_node(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.place(web, node)
    log.round(suspending(web, node, a_replica(web)))
    assert log.rules() == ["suspended"]


def test_suspended_only_after_a_long_silence(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.node("second")
    log.place(web, node)
    log.lose(node)
    log.now_us -= 1
    log.round(suspending(web, node, a_replica(web)))
    assert log.rules() == ["suspended"]


def test_nothing_is_given_up_while_every_node_is_silent(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.place(web, node)
    log.lose(node)
    log.round(suspending(web, node, a_replica(web)))
    assert log.rules() == ["suspended"]


def test_what_completed_keeps_its_slot(log: Bytes) -> None:
    first, second, job = log.node("first"), log.node("second"), log.deploy("job")
    log.place(job, first)
    log.lose(first)
    log.round(suspending(job, first, a_replica(job)))
    log.round(log.placing(job, on(job, second, 0, 2)))
    log.report(second, seen(a_replica(job, 0, 2), COMPLETE, final=True))
    log.node("first")
    log.round(restoring(job, a_replica(job)))
    assert log.rules() == ["slot-taken"]


def test_restored_only_when_suspended_and_the_node_is_back(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    log.node("second")
    log.place(web, node)
    log.lose(node)
    log.round(suspending(web, node, a_replica(web)))
    log.round(restoring(web, a_replica(web)))
    assert log.rules() == ["restored"]
    log.node("first")
    log.round(restoring(web, a_replica(web)))
    assert log.rules() == ["restored", "restored"]


def test_a_returned_replica_does_not_share_its_slot(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first)
    log.lose(first)
    log.round(suspending(web, first, a_replica(web)))
    log.round(log.placing(web, on(web, second, 0, 2)))
    log.node("first")
    log.round(restoring(web, a_replica(web)))
    assert log.rules() == ["slot-taken"]


def test_it_takes_its_slot_back_when_the_other_is_released(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first)
    log.lose(first)
    log.round(suspending(web, first, a_replica(web)))
    log.round(log.placing(web, on(web, second, 0, 2)))
    log.node("first")
    log.round(releasing(web, a_replica(web, 0, 2)), restoring(web, a_replica(web)))
    assert log.rules() == []


def test_a_lost_nodes_room_stays_blocked(log: Bytes) -> None:
    node, web = log.node("first", cpu=1000), log.deploy("web")
    log.node("second")
    log.place(web, node)
    log.lose(node)
    log.round(suspending(web, node, a_replica(web)))
    log.node("first", cpu=1000)
    other = log.deploy("other")
    log.place(other, node)
    assert log.rules() == ["overbooked"]


def test_failed_only_after_the_retries(log: Bytes) -> None:
    log.node("first")
    web = log.deploy("web", 2)
    version = log.versions[web]
    for attempt in (1, 2, 3):
        log.round(deferring(web, version, attempt, log.now_us + 1000))
    log.now_us += 1000
    log.round(failing(web, version))
    assert log.rules() == []
    other = log.deploy("other", 2)
    log.round(deferring(other, log.versions[other], 1))
    log.round(failing(other, log.versions[other]))
    assert log.rules() == ["failed"]


def test_failed_not_before_the_last_retry_is_due(log: Bytes) -> None:
    log.node("first")
    web = log.deploy("web", 2)
    for attempt in (1, 2, 3):
        log.round(deferring(web, log.versions[web], attempt, log.now_us + 1000))
    log.round(failing(web, log.versions[web]))
    assert log.rules() == ["failed"]


def test_failed_at_once_when_impossible(log: Bytes) -> None:
    log.node("first", cpu=1000)
    large = log.deploy("large", cpu=2000)
    log.round(failing(large, log.versions[large]))
    assert log.rules() == []


def test_without_any_node_nothing_is_impossible(log: Bytes) -> None:
    web = log.deploy("web")
    log.round(failing(web, log.versions[web]))
    assert log.rules() == ["failed"]


def test_what_waits_for_capacity_never_fails(log: Bytes) -> None:
    log.node("first", cpu=1000)
    large = log.deploy("large", cpu=2000, wait_for_capacity=True)
    log.round(failing(large, log.versions[large]))
    assert log.rules() == ["failed"]


def test_what_was_placed_fails_only_when_turned_down_twice(log: Bytes) -> None:
    first, second, web = log.node("first"), log.node("second"), log.deploy("web")
    log.place(web, first)
    log.report(first, seen(a_replica(web), REJECTED, final=True, unobtainable=True))
    log.round(log.placing(web, on(web, second, 0, 2)))
    log.report(second, seen(a_replica(web, 0, 2), REJECTED, final=True, unobtainable=True))
    log.round(failing(web, log.versions[web]))
    assert log.rules() == []
    other = log.deploy("other")
    log.place(other, first)
    log.report(first, seen(a_replica(other), REJECTED, final=True, unobtainable=True))
    log.round(log.placing(other, on(other, second, 0, 2)))
    log.report(second, seen(a_replica(other, 0, 2), REJECTED, final=True))
    log.round(failing(other, log.versions[other]))
    assert log.rules() == ["failed"]


def test_what_failed_is_not_placed(log: Bytes) -> None:
    node = log.node("first", cpu=1000)
    large = log.deploy("large", cpu=2000)
    log.round(failing(large, log.versions[large]))
    log.node("second")
    log.place(large, an_id("second"))
    assert log.rules() == ["failed"]
    assert node


def test_tries_are_counted_one_by_one(log: Bytes) -> None:
    log.node("first")
    web = log.deploy("web", 2)
    log.round(deferring(web, log.versions[web], 1))
    log.round(deferring(web, log.versions[web], 3))
    log.round(deferring(web, log.versions[web], 4))
    assert log.rules() == ["deferred", "deferred"]


def test_offline_is_observed_once_in_the_nodes_epoch(log: Bytes) -> None:
    node = log.node("first")
    epoch = log.epochs[node]
    offline = rounds_pb2.Outcome(offline=rounds_pb2.NodeOffline(node_id=node, epoch=epoch))
    log.round(offline)
    log.silence(node)
    log.node("first")
    log.round(offline, observations=[rounds_pb2.NodeSilence(node_id=node, epoch=epoch)])
    ghost = rounds_pb2.NodeOffline(node_id=an_id("ghost"), epoch=1)
    log.round(rounds_pb2.Outcome(offline=ghost))
    assert log.rules() == ["offline", "offline", "offline", "unknown-node"]


def test_an_outcome_of_no_kind(log: Bytes) -> None:
    log.round(rounds_pb2.Outcome())
    assert log.rules() == ["undecodable"]


def test_where_the_leaving_hold_the_room_the_start_waits(log: Bytes) -> None:
    node = log.node("first", cpu=1000)
    one, two = log.deploy("one"), log.deploy("two")
    log.place(one, node)
    log.round(releasing(one, a_replica(one)))
    log.round(log.placing(two, on(two, node, starts_after=[a_replica(one)])))
    assert log.rules() == []


def test_and_must_not_start_at_once(log: Bytes) -> None:
    node = log.node("first", cpu=1000)
    one, two = log.deploy("one"), log.deploy("two")
    log.place(one, node)
    log.round(releasing(one, a_replica(one)))
    log.place(two, node)
    assert log.rules() == ["starts-after"]


def test_evicting_and_placing_in_one_round(log: Bytes) -> None:
    node = log.node("first", cpu=1000)
    low, high = log.deploy("low"), log.deploy("high")
    log.place(low, node)
    log.round(
        log.placing(high, on(high, node, starts_after=[a_replica(low)])),
        releasing(low, a_replica(low)),
    )
    assert log.rules() == []


def test_nobody_waits_for_what_runs_on_or_is_elsewhere(log: Bytes) -> None:
    first, second = log.node("first"), log.node("second")
    one, two = log.deploy("one", 2), log.deploy("two")
    log.place(one, first, second)
    awaited = [a_replica(one), a_replica(one, 1)]
    log.round(log.placing(two, on(two, first, starts_after=awaited)))
    assert log.rules() == ["starts-after", "starts-after"]
