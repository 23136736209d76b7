"""What nodes say, which commands count, and what was promised: each test plants one violation."""

import pytest

from fogbank.checker import Acknowledged, parse_acknowledged
from fogbank.v1 import deployments_pb2, facts_pb2
from tests.unit.checker.building import (
    COMPLETE,
    FAILED,
    RUNNING,
    STARTING,
    STOPPED,
    Bytes,
    a_replica,
    an_id,
    deferring,
    on,
    releasing,
    room,
    seen,
    suspending,
)


@pytest.fixture
def log() -> Bytes:
    return Bytes()


@pytest.fixture
def web(log: Bytes) -> str:
    """A deployment on the node `first`."""
    node, web = log.node("first"), log.deploy("web")
    log.place(web, node)
    return web


FIRST = an_id("first")


def test_restarts_and_states_grow(log: Bytes, web: str) -> None:
    log.report(FIRST, seen(a_replica(web), STARTING), seen(a_replica(web), RUNNING))
    log.report(FIRST, seen(a_replica(web), FAILED))
    log.report(FIRST, seen(a_replica(web), STARTING, restarts=1))
    assert log.rules() == []
    log.report(FIRST, seen(a_replica(web), RUNNING, restarts=0))
    assert log.rules() == ["state-falls"]


def test_what_ended_for_good_does_not_run(log: Bytes, web: str) -> None:
    log.report(FIRST, seen(a_replica(web), FAILED, final=True))
    log.report(FIRST, seen(a_replica(web), STOPPED, final=True))
    assert log.rules() == []
    log.report(FIRST, seen(a_replica(web), RUNNING, restarts=1))
    assert log.rules() == ["runs-after-end"]


def test_nothing_runs_that_was_not_placed_there(log: Bytes, web: str) -> None:
    second = log.node("second")
    log.report(second, seen(a_replica(web), STOPPED, final=True))
    assert log.rules() == []
    log.report(second, seen(a_replica(web), RUNNING))
    report = log.check()
    assert [violation.rule for violation in report.violations] == ["runs-unplaced"]
    assert report.counts.deployments == {"pending": 1}, "the word of another node counts nothing"


def test_nothing_runs_before_it_is_placed(log: Bytes) -> None:
    node, web = log.node("first"), log.deploy("web")
    looked = log.last
    log.report(node, seen(a_replica(web)))
    log.round(log.placing(web, on(web, node)), facts_to=looked)
    assert log.rules() == ["runs-unplaced"]


def test_a_replica_is_in_some_state(log: Bytes, web: str) -> None:
    log.report(FIRST, seen(a_replica(web), 0))
    assert log.rules() == ["undecodable"]


def test_a_report_ahead_of_its_turn_must_come_again(log: Bytes, web: str) -> None:
    log.report(FIRST, number=2)
    assert log.rules() == ["report-gap"]
    log.report(FIRST, number=1)
    log.report(FIRST, number=2)
    assert log.rules() == []


def test_reports_of_an_old_epoch_and_repeated_ones_are_void(log: Bytes, web: str) -> None:
    log.report(FIRST, number=1)
    log.report(FIRST, number=1)
    old = log.epochs[FIRST]
    log.node("first")
    log.fact(facts_pb2.NodeReported(node_id=FIRST, epoch=old, number=2))
    report = log.check()
    assert report.clean
    assert (report.counts.reports, report.counts.events_void) == (1, 2)


@pytest.mark.parametrize("state", [STARTING, RUNNING, COMPLETE])
def test_a_start_waits_for_the_end_of_what_it_replaces(log: Bytes, state: int) -> None:
    node = log.node("first", cpu=1000)
    one, two = log.deploy("one"), log.deploy("two")
    log.place(one, node)
    log.round(releasing(one, a_replica(one)))
    log.round(log.placing(two, on(two, node, starts_after=[a_replica(one)])))
    early = Bytes(**{name: getattr(log, name) for name in Bytes.__slots__})
    early.commits = [*log.commits]
    early.reports = {}
    early.report(node, seen(a_replica(two), state))
    assert early.rules() == ["started-too-early"]
    log.reports = {}
    log.report(node, seen(a_replica(two), state), seen(a_replica(one), STOPPED, final=True))
    assert log.rules() == []


def test_void_commands_change_nothing(log: Bytes, web: str) -> None:
    version = log.versions[web]
    log.fact(facts_pb2.DeploymentScaled(deployment_id=web, replicas=3), version=version + 1)
    log.fact(facts_pb2.DeploymentDeleted(deployment_id=an_id("ghost")))
    log.fact(facts_pb2.DeploymentCreated(), web)
    log.fact(facts_pb2.ClusterCreated(name="share", organization_id=1))
    log.fact(facts_pb2.NodeLoadChanged(node_id=FIRST, epoch=1, cpu_percent=99))
    report = log.check()
    assert report.clean
    assert report.counts.events_void == 5


def test_a_deployment_is_created_once_for_ever(log: Bytes, web: str) -> None:
    log.now_us += 25 * 3600 * 1_000_000
    log.fact(facts_pb2.DeploymentCreated(), web)
    report = log.check()
    assert report.clean
    assert report.counts.events_void == 1


def test_a_fact_keeps_within_bounds(log: Bytes, web: str) -> None:
    log.fact(facts_pb2.DeploymentCreated(), "no uuid")
    log.fact(facts_pb2.DeploymentScaled(deployment_id=web, replicas=-1))
    log.deploy("large", cpu=1 << 41)
    log.node("second", cpu=-1)
    log.node("third")
    log.shrink(an_id("third"), -1)
    policy = facts_pb2.PolicyActivated()
    policy.policy.name, policy.policy.strategy = "ours", "balanced"
    policy.policy.resource_weight = float("nan")
    log.fact(policy)
    late = facts_pb2.PolicyActivated()
    late.policy.name, late.policy.strategy = "ours", "balanced"
    late.policy.lost_after_ms = -1
    log.fact(late)
    hasty = facts_pb2.PolicyActivated()
    hasty.policy.name, hasty.policy.strategy = "ours", "balanced"
    hasty.policy.retry_backoff_ms.extend([1] * 101)
    log.fact(hasty)
    assert log.rules() == ["out-of-bounds"] * 8


def created(deployment_id: str, **more: object) -> Acknowledged:
    return Acknowledged("create", deployment_id, **more)  # type: ignore[arg-type]


def test_what_was_acknowledged_is_in_the_log(log: Bytes, web: str) -> None:
    log.scale(web, 2)
    kept = [
        created(web, replicas=1),
        Acknowledged("scale", web, replicas=2),
        Acknowledged("scale", web, event_id=an_id(f"event {log.last - 1}"), replicas=2),
    ]
    assert log.rules(*kept) == []
    assert log.rules(created(an_id("ghost"))) == ["acknowledged-lost"]
    assert log.rules(Acknowledged("delete", web)) == ["acknowledged-lost"]


def test_a_void_command_was_not_to_be_acknowledged(log: Bytes, web: str) -> None:
    log.fact(facts_pb2.DeploymentScaled(deployment_id=web, replicas=3), "stale", version=1)
    report = log.check(Acknowledged("scale", web, event_id="stale"))
    assert [violation.rule for violation in report.violations] == ["acknowledged-lost"]
    assert "is void" in report.violations[0].sentence


def test_an_acknowledged_command_counts_once(log: Bytes, web: str) -> None:
    log.fact(facts_pb2.DeploymentScaled(deployment_id=web, replicas=2), "request")
    log.fact(facts_pb2.DeploymentScaled(deployment_id=web, replicas=2), "request")
    promise = Acknowledged("scale", web, event_id="request", replicas=2)
    assert log.rules(promise) == []
    log.now_us += 25 * 3600 * 1_000_000
    log.fact(facts_pb2.DeploymentScaled(deployment_id=web, replicas=2), "request")
    assert log.rules(promise) == ["acknowledged-twice"]


def test_an_acknowledged_command_says_what_was_acknowledged(log: Bytes, web: str) -> None:
    assert log.rules(created(web, replicas=7)) == ["acknowledged-differs"]


def test_a_request_is_found_by_its_owner_method_and_id(log: Bytes, web: str) -> None:
    promise = Acknowledged("scale", web, owner_id="o", method="m", request_id="r", replicas=2)
    event_id = promise.known_event_id()
    log.fact(facts_pb2.DeploymentScaled(deployment_id=web, replicas=2), event_id)
    assert log.rules(promise) == []


def test_settled_means_running_where_it_should(log: Bytes, web: str) -> None:
    assert log.rules(settled=True) == ["not-running"]
    log.report(FIRST, seen(a_replica(web), RUNNING))
    assert log.rules(created(web, end="running"), settled=True) == []
    assert log.rules(created(web, end="deleted"), settled=True) == ["wrong-end"]


def test_settled_lacks_nothing_there_is_room_for(log: Bytes, web: str) -> None:
    log.report(FIRST, seen(a_replica(web), RUNNING))
    log.scale(web, 2)
    log.round(deferring(web, log.versions[web], 0))
    assert log.rules(settled=True) == [], "there is no second node"
    log.node("second")
    assert log.rules(settled=True) == ["not-running"]


def test_settled_with_colocation_counts_the_copies_that_fit(log: Bytes) -> None:
    log.node("first", cpu=2000)
    log.deploy("web", 3, allow_colocation=True)
    assert log.rules(settled=True) == []
    log.node("second", cpu=1000)
    assert log.rules(settled=True) == ["not-running"]


@pytest.mark.parametrize(("surge", "second"), [(1, True), (0, False), (1, False)])
def test_settled_leaves_nothing_outdated(log: Bytes, web: str, surge: int, *, second: bool) -> None:
    """Unless a successor finds no room, and nobody may go first."""
    log.report(FIRST, seen(a_replica(web), RUNNING))
    log.shrink(FIRST, 1000)
    spec = deployments_pb2.DeploymentSpec(
        name="web",
        replicas=1,
        resources=room(1000),
        container_image="new",
        rollout=deployments_pb2.RolloutSpec(max_surge=surge, max_unavailable=1 - surge),
    )
    log.update(web, spec)
    if second:
        log.node("second")
    stuck = surge == 1 and not second
    assert log.rules(settled=True) == ([] if stuck else ["outdated"])


def test_settled_after_an_update_and_a_return_to_what_was_before(log: Bytes, web: str) -> None:
    log.report(FIRST, seen(a_replica(web), RUNNING))
    for image in ("new", ""):
        spec = deployments_pb2.DeploymentSpec(
            name="web", replicas=1, resources=room(1000), container_image=image
        )
        log.update(web, spec)
    assert log.rules(settled=True) == []


def test_an_acknowledged_update_is_in_the_log(log: Bytes, web: str) -> None:
    log.update(web, deployments_pb2.DeploymentSpec(name="web", replicas=3, resources=room()))
    event_id = an_id(f"event {log.last - 1}")
    assert log.rules(Acknowledged("update", web, event_id=event_id, replicas=3)) == []
    lost = Acknowledged("update", web, event_id=an_id("another"))
    assert log.rules(lost) == ["acknowledged-lost"]


def test_settled_leaves_nothing_behind(log: Bytes, web: str) -> None:
    log.report(FIRST, seen(a_replica(web), RUNNING))
    log.delete(web)
    log.round(releasing(web, a_replica(web)))
    assert log.rules(settled=True) == ["still-there"]
    log.report(FIRST, seen(a_replica(web), STOPPED, final=True))
    assert log.rules(created(web), Acknowledged("delete", web, end="deleted"), settled=True) == []


def test_settled_leaves_nothing_suspended_on_a_node_that_is_back(log: Bytes, web: str) -> None:
    log.report(FIRST, seen(a_replica(web), RUNNING))
    second = log.node("second")
    log.lose(FIRST)
    log.round(suspending(web, FIRST, a_replica(web)))
    log.round(log.placing(web, on(web, second, 0, 2)))
    log.report(second, seen(a_replica(web, 0, 2), RUNNING))
    assert log.rules(settled=True) == [], "what a lost node does nobody knows"
    log.node("first")
    assert log.rules(settled=True) == ["still-there"]


def test_records_of_acknowledged_commands_are_read() -> None:
    lines = ['{"command": "create", "deployment_id": "d", "replicas": 2}', "", " "]
    assert parse_acknowledged(lines) == [Acknowledged("create", "d", replicas=2)]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"command": "create"}', '{"command": "x", "deployment_id": "d"}', '{"a": 1}'],
)
def test_a_broken_record_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ValueError, match="line 1"):
        parse_acknowledged([line])
