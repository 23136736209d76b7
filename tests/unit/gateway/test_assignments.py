"""What a node is to do, and what it must be told."""

from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.deployment import DisconnectRules
from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import replica_id
from fogbank.domain.policy import Policy
from fogbank.domain.states import ReplicaState
from services.gateway.core.assignments import Task, Wanted, changed_tasks, tasks_of
from tests.support.fleet_log import LittleLog, a_spec


def placed_fleet() -> tuple[LittleLog, FleetState, str, str, list[str]]:
    log, fleet = LittleLog(), FleetState()
    node, commit = log.connect("node-1")
    fleet.fold(commit)
    deployment, commit = log.deploy(a_spec(replicas=2, allow_colocation=True))
    fleet.fold(commit)
    replicas = [replica_id(deployment, slot, 1) for slot in range(2)]
    fact = fleet.facts.deployments[deployment]
    fleet.fold(
        log.commit(
            "scheduler",
            log.envelope(
                ev.RoundDecided(
                    fleet.decisions.prev_digest,
                    fleet.position,
                    log.now_us,
                    "balanced@1",
                    bytes(32),
                    1,
                    100,
                    (),
                    (
                        ev.DeploymentPlaced(
                            deployment,
                            fact.version,
                            fact.spec.resources,
                            (
                                ev.Placement(replicas[0], 0, 1, node, 1),
                                ev.Placement(replicas[1], 1, 1, node, 1, (replicas[0],)),
                            ),
                        ),
                    ),
                )
            ),
        )
    )
    return log, fleet, node, deployment, replicas


def decide(log: LittleLog, fleet: FleetState, outcome: ev.Outcome) -> None:
    event = ev.RoundDecided(
        fleet.decisions.prev_digest,
        fleet.position,
        log.now_us,
        "balanced@1",
        bytes(32),
        1,
        100,
        (),
        (outcome,),
    )
    folded = fleet.fold(log.commit("scheduler", log.envelope(event)))
    assert folded.verdicts[0].accepted


def test_placed_replicas_are_to_run() -> None:
    _log, fleet, node, deployment, (first, second) = placed_fleet()

    assert tasks_of(fleet, node) == {
        first: Task(first, deployment, Wanted.RUN),
        second: Task(second, deployment, Wanted.RUN, (first,)),
    }


def test_released_ones_are_to_stop_until_they_ended() -> None:
    log, fleet, node, deployment, (first, second) = placed_fleet()
    decide(log, fleet, ev.ReplicasReleased(deployment, (second,), "Scaled down"))
    assert tasks_of(fleet, node)[second].wanted is Wanted.STOP

    fleet.fold(log.report(node, log.seen(second, ReplicaState.STOPPED, final=True)))

    assert list(tasks_of(fleet, node)) == [first]


def test_suspended_ones_go_on_until_a_round_says_which_stays() -> None:
    log, fleet, node, deployment, (first, _second) = placed_fleet()
    decide(log, fleet, ev.ReplicasSuspended(deployment, (first,), node))

    assert tasks_of(fleet, node)[first].wanted is Wanted.RUN


def test_only_what_changed_is_told() -> None:
    run, stop = Task("a", "d", Wanted.RUN), Task("a", "d", Wanted.STOP)
    other = Task("b", "d", Wanted.RUN)

    assert changed_tasks({"a": run, "b": other}, {"a": run, "b": other}) == ()
    assert changed_tasks({"a": run}, {"a": stop, "b": other}) == (stop, other)
    assert changed_tasks({"a": stop, "b": other}, {"b": other}) == (Task("a", "d", Wanted.FORGET),)


def test_what_its_node_was_to_stop_is_not_run_again_after_it_was_suspended() -> None:
    log, fleet, node, deployment, replicas = placed_fleet()
    spec = fleet.facts.deployments[deployment].spec
    rules = DisconnectRules(stop_on_client_after_ms=10_000)
    told = tasks_of(fleet, node)
    fleet.fold(log.fact(ev.DeploymentUpdated(deployment, replace(spec, disconnect=rules), "")))
    now = tasks_of(fleet, node)
    assert {task.stop_on_client_after_ms for task in now.values()} == {10_000}
    assert len(changed_tasks(told, now)) == 2
    decide(log, fleet, ev.ReplicasSuspended(deployment, (replicas[0],), node))
    wanted = {task.replica_id: task.wanted for task in tasks_of(fleet, node).values()}
    assert wanted == {replicas[0]: Wanted.STOP, replicas[1]: Wanted.RUN}


def test_what_gives_way_may_take_as_long_to_end_as_the_policy_lets_it() -> None:
    log, fleet, node, deployment, (first, second) = placed_fleet()
    taker, commit = log.deploy(a_spec())
    fleet.fold(commit)
    fact = fleet.facts.deployments[taker]
    taken = ev.Placement(replica_id(taker, 0, 1), 0, 1, node, 1, (first,))
    eviction = ev.Eviction(deployment, (first,))
    decide(
        log,
        fleet,
        ev.DeploymentPlaced(
            taker, fact.version, fact.spec.resources, (taken,), evictions=(eviction,)
        ),
    )
    decide(log, fleet, ev.ReplicasReleased(deployment, (second,), "Scaled down"))
    told = tasks_of(fleet, node)
    bounds = {each: (told[each].wanted, told[each].stop_within_ms) for each in (first, second)}
    assert bounds == {first: (Wanted.STOP, 30_000), second: (Wanted.STOP, 0)}
    shorter = Policy(disruption=DisruptionRules(eviction_grace_ms=5_000))
    fleet.fold(log.fact(ev.PolicyActivated(shorter)))
    (hastened,) = changed_tasks(told, tasks_of(fleet, node))
    assert (hastened.replica_id, hastened.stop_within_ms) == (first, 5_000)


def starting_after(priority: int, cluster_id: int = 1) -> dict[str, int]:
    """Stop one for its author's reasons, let another one start after it; return what is told."""
    log, fleet, node, deployment, (first, second) = placed_fleet()
    decide(log, fleet, ev.ReplicasReleased(deployment, (first, second), "Scaled down"))
    taker, commit = log.deploy(a_spec(priority=priority, cluster_id=cluster_id))
    fleet.fold(commit)
    fact = fleet.facts.deployments[taker]
    taken = ev.Placement(replica_id(taker, 0, 1), 0, 1, node, 1, (first,))
    decide(log, fleet, ev.DeploymentPlaced(taker, fact.version, fact.spec.resources, (taken,)))
    told = tasks_of(fleet, node)
    return {name: told[known].stop_within_ms for name, known in (("a", first), ("b", second))}


def test_who_stops_for_another_reason_has_no_longer_while_a_more_important_one_waits() -> None:
    assert starting_after(80) == {"a": 30_000, "b": 0}
    assert starting_after(60) == {"a": 30_000, "b": 0}, "it is 10 more important"
    assert starting_after(59) == {"a": 0, "b": 0}, "nobody gives way to that"
    assert starting_after(80, cluster_id=2) == {"a": 0, "b": 0}, "it is not of its cluster"
