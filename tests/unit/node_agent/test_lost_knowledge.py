"""What the agent does when the gateway lost an environment, or its own disk is an old one."""

import pytest

from fogbank.domain.states import ReplicaState
from services.node_agent.adapters.store_values import decode_record, encode_record
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.kept import AssignmentKept, Kept, apply
from services.node_agent.core.replica import Desired
from services.node_agent.core.restarts import AgentPolicy
from tests.unit.node_agent.scenes import Scene, running, spec, to_run, to_stop


@pytest.fixture
def scene() -> Scene:
    scene = Scene(AgentPolicy(report_window=1_000))
    scene.boot()
    scene.connect()
    return scene


# --- the environment of a deployment is lost --------------------------------------------------


def test_what_runs_goes_on_without_its_environment(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    bare = spec("other")
    assert not [
        each
        for each in scene.complete(to_run("a", bare, env_missing=True))
        if not isinstance(each, ef.Send)
    ]
    assert scene.state("a") is ReplicaState.RUNNING
    scene.happen(st.ContainerEnded("a", 0, 1))
    effects = scene.pass_s(20)
    assert ef.StartContainer("a", 1, spec()) in effects, "what it was given before still holds"


def test_nothing_is_started_without_its_environment(scene: Scene) -> None:
    effects = scene.complete(to_run("a", env_missing=True))
    assert not [each for each in effects if not isinstance(each, ef.Send)]
    seen = scene.last_seen("a")
    assert (seen.state, seen.final, seen.unobtainable) == (ReplicaState.REJECTED, True, True)
    assert "environment" in seen.reason
    assert "is lost" in seen.reason


def test_a_container_without_a_record_goes_on_without_its_environment() -> None:
    scene = Scene()
    scene.boot(running("a", 2))
    scene.connect()
    effects = scene.complete(to_run("a", env_missing=True, restart_count=3))
    assert not [each for each in effects if isinstance(each, ef.StopContainer | ef.StartContainer)]
    assert scene.states("a") == [(2, "RUNNING")]


# --- the log knows more than the agent's disk -------------------------------------------------


def test_a_stop_for_what_the_agent_forgot_ends_it_for_the_log(scene: Scene) -> None:
    scene.complete(to_stop("a", restart_count=4))
    assert scene.states("a") == [(4, "STOPPED")]
    assert scene.last_seen("a").final


def test_what_the_agent_forgot_starts_beyond_what_the_log_has(scene: Scene) -> None:
    scene.complete(to_run("a", restart_count=4))
    assert ef.StartContainer("a", 4, spec()) in scene.happen(st.Prepared("a"))
    scene.happen(scene.started("a", 4))
    assert scene.states("a") == [(4, "STARTING"), (4, "RUNNING")]


def test_an_old_record_is_left_behind_at_its_next_end(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.complete(to_run("a", restart_count=4))
    scene.happen(st.ContainerEnded("a", 0, 1))
    assert scene.states("a")[-1] == (4, "FAILED")
    assert ef.StartContainer("a", 5, spec()) in scene.pass_s(20)


def test_an_old_record_is_stopped_beyond_what_the_log_has(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.complete(to_stop("a", restart_count=4))
    scene.happen(st.StopFinished("a", 143))
    assert scene.states("a")[-1] == (4, "STOPPED")


def test_the_count_of_what_is_well_known_stays(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.complete(to_stop("a", restart_count=1))
    scene.happen(st.StopFinished("a", 143))
    assert scene.states("a")[-1] == (0, "STOPPED")


def test_a_container_newer_than_the_disk_is_taken_over(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    effects = scene.reboot(running("a", 3))
    assert not [each for each in effects if isinstance(each, ef.StartContainer)]
    scene.connect()
    assert scene.states("a")[-1] == (3, "RUNNING")


def test_what_the_log_has_is_remembered_over_a_restart() -> None:
    entry = AssignmentKept("a", Desired.RUN, 7, spec(), 4)
    kept = Kept()
    apply(kept, entry)
    again = decode_record(encode_record(kept.replicas["a"]))
    assert (again.restart_floor, again.restart_count) == (4, 4)


# --- the fleet struck the node off ------------------------------------------------------------


def test_a_removed_node_stops_all_it_runs(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    assert ef.StopContainer("a") in scene.happen(st.NodeRemoved())
