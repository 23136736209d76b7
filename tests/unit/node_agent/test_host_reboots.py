"""A host that restarts takes its containers along: no failure of theirs, and no success."""

import pytest

from fogbank.domain.states import ReplicaState, RestartPolicy
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.kept import BootKept
from services.node_agent.core.replica import FoundContainer
from services.node_agent.core.restarts import AgentPolicy
from tests.unit.node_agent.scenes import Scene, gone, spec, to_run, to_stop


@pytest.fixture
def scene() -> Scene:
    # Nobody acknowledges here, and nothing shall wait for that.
    scene = Scene(AgentPolicy(report_window=1_000))
    scene.boot()
    scene.connect()
    return scene


def test_no_number_of_them_is_too_many(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    for boots in range(1, 8):
        scene.pass_s(300)
        effects = scene.reboot_host(gone("a", 137, boots - 1))
        assert effects == [ef.PrepareReplica("a", spec())], "at once"
        seen = scene.core.kept.replicas["a"].observed
        assert seen is not None
        assert (seen.final, seen.exit_code) == (False, -1)
        assert seen.reason == "interrupted: its host restarted; starting again"
        scene.run("a", boots)
        assert scene.state("a") is ReplicaState.RUNNING
    for count in (7, 8):
        scene.happen(st.ContainerEnded("a", count, 1))
        scene.pass_s(15)
        scene.happen(st.Prepared("a"), scene.started("a", count + 1))
    scene.happen(st.ContainerEnded("a", 9, 1))
    assert scene.core.kept.replicas["a"].ended, "ends of its own are counted as ever"


@pytest.mark.parametrize("found", [gone("a", 0), None])
def test_who_ended_politely_with_its_host_is_started_again(
    scene: Scene, found: FoundContainer | None
) -> None:
    wanted = spec(restart=RestartPolicy.ON_FAILURE)
    scene.complete(to_run("a", wanted))
    scene.run("a")
    assert scene.reboot_host(*[found] if found else []) == [ef.PrepareReplica("a", wanted)]
    assert ef.StartContainer("a", 1, wanted) in scene.happen(st.Prepared("a"))


def test_who_is_never_started_again_has_failed(scene: Scene) -> None:
    scene.complete(to_run("a", spec(restart=RestartPolicy.NEVER)))
    scene.run("a")
    scene.reboot_host(gone("a", 0))
    scene.connect(last_report_number=0)
    seen = scene.last_seen("a")
    assert (seen.state, seen.final) == (ReplicaState.FAILED, True)
    assert (seen.exit_code, seen.reason) == (-1, "interrupted: its host restarted")


@pytest.mark.parametrize("restart", [RestartPolicy.ON_FAILURE, RestartPolicy.NEVER])
def test_an_end_that_was_seen_before_stands(scene: Scene, restart: RestartPolicy) -> None:
    scene.complete(to_run("a", spec(restart=restart)))
    scene.run("a")
    scene.happen(st.ContainerEnded("a", 0, 0))
    assert scene.reboot_host(gone("a", 0)) == []
    assert scene.state("a") is ReplicaState.COMPLETE


def test_a_restart_that_waited_is_counted(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.happen(st.ContainerEnded("a", 0, 1))
    assert scene.reboot_host(gone("a", 1)) == []
    scene.pass_s(15)
    scene.happen(st.Prepared("a"))
    assert scene.core.kept.replicas["a"].restarts == [scene.now_us]


def test_an_agent_that_ends_before_the_start_counts_none_either(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.reboot_host(gone("a", 143))
    assert scene.reboot(gone("a", 143)) == [ef.PrepareReplica("a", spec())]
    scene.run("a", 1)
    assert scene.core.kept.replicas["a"].restarts == []
    assert not scene.core.kept.replicas["a"].interrupted


def test_who_was_to_stop_has_stopped(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.incremental(to_stop("a"))
    assert scene.reboot_host(gone("a", 137)) == []
    assert scene.state("a") is ReplicaState.STOPPED


def test_a_start_that_nobody_saw_is_begun_again(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.happen(st.Prepared("a"))
    assert scene.reboot_host() == [ef.StartContainer("a", 0, spec())]


def test_ends_in_the_same_boot_are_the_containers_own(scene: Scene) -> None:
    scene.complete(to_run("a", spec(restart=RestartPolicy.ON_FAILURE)), to_run("b"))
    scene.run("a")
    scene.run("b")
    scene.reboot_host(gone("b", 1))
    scene.run("a", 1)
    scene.run("b", 1)
    scene.reboot(gone("a", 0, 1), gone("b", 1, 1))
    assert scene.state("a") is ReplicaState.COMPLETE
    scene.pass_s(15)
    scene.happen(st.Prepared("b"))
    assert scene.core.kept.replicas["b"].restarts == [scene.now_us]


def test_without_a_boot_known_no_reboot_is_guessed(scene: Scene) -> None:
    """As after an update from a release that kept none, or of simulated containers."""
    scene.complete(to_run("a", spec(restart=RestartPolicy.ON_FAILURE)))
    scene.run("a")
    scene.saved = [each for each in scene.saved if not isinstance(each, BootKept)]
    scene.reboot_host(gone("a", 0))
    assert scene.state("a") is ReplicaState.COMPLETE
