"""What the core does with replicas, step by step."""

import pytest

from fogbank.domain.states import Health, ReplicaState, RestartPolicy
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.preparing import retry_pause_us
from services.node_agent.core.restarts import AgentPolicy
from tests.unit.node_agent.scenes import (
    Scene,
    gone,
    running,
    spec,
    to_forget,
    to_run,
    to_stop,
)


@pytest.fixture
def scene() -> Scene:
    # Nobody acknowledges here, and nothing shall wait for that.
    scene = Scene(AgentPolicy(report_window=1_000))
    scene.boot()
    scene.connect()
    return scene


def test_a_replica_goes_from_assigned_to_running_one_step_at_a_time(scene: Scene) -> None:
    assert scene.complete(to_run("a")) == [ef.PrepareReplica("a", spec())]
    assert scene.state("a") is ReplicaState.PREPARING
    effects = scene.happen(st.Prepared("a"))
    assert ef.StartContainer("a", 0, spec()) in effects
    assert scene.state("a") is ReplicaState.STARTING
    scene.happen(scene.started("a"))
    assert scene.states("a") == [(0, "STARTING"), (0, "RUNNING")]
    seen = scene.last_seen("a")
    assert (seen.container_id, seen.started_at_us) == ("c-a", scene.now_us)
    assert seen.health is Health.HEALTHY
    assert not seen.final


def test_what_is_seen_in_one_batch_goes_in_one_report(scene: Scene) -> None:
    scene.complete(to_run("a"), to_run("b"), to_run("c"))
    scene.happen(st.Prepared("a"), st.Prepared("b"), st.Prepared("c"))
    assert [each.replica_id for each in scene.reports[-1].observations] == ["a", "b", "c"]
    assert scene.reports[-1].number == 2


def test_a_replica_waits_for_those_whose_room_it_takes(scene: Scene) -> None:
    scene.complete(to_run("old"))
    scene.run("old")
    scene.incremental(to_stop("old"), to_run("new", spec(starts_after=("old", "unknown"))))
    assert scene.happen(st.Prepared("new")) == []
    assert scene.state("new") is ReplicaState.PREPARING
    effects = scene.happen(st.StopFinished("old", 143))
    assert [type(each) for each in effects] == [ef.StartContainer, ef.Send]
    assert scene.states("old")[-1] == (0, "STOPPED")


def test_an_image_is_fetched_while_the_room_is_still_taken(scene: Scene) -> None:
    scene.complete(to_run("old"))
    scene.run("old")
    effects = scene.incremental(to_stop("old"), to_run("new", spec(starts_after=("old",))))
    assert [type(each) for each in effects] == [ef.StopContainer, ef.PrepareReplica]


def test_a_running_replica_is_stopped_and_then_reported_as_ended(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    assert scene.incremental(to_stop("a")) == [ef.StopContainer("a")]
    scene.happen(st.StopFinished("a", 143), st.ContainerEnded("a", 0, 143))
    seen = scene.last_seen("a")
    assert (seen.state, seen.final, seen.exit_code) == (ReplicaState.STOPPED, True, 143)
    assert scene.states("a").count((0, "STOPPED")) == 1


def test_who_is_to_end_sooner_is_stopped_again_with_less_time(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    assert scene.incremental(to_stop("a")) == [ef.StopContainer("a")]
    sooner = [ef.StopContainer("a", within_ms=30_000)]
    assert scene.incremental(to_stop("a", within_ms=30_000)) == sooner
    assert scene.incremental(to_stop("a", within_ms=30_000)) == []
    assert scene.incremental(to_stop("a", within_ms=60_000)) == []
    assert scene.complete(to_stop("a", within_ms=5_000)) == [ef.StopContainer("a", within_ms=5_000)]
    scene.happen(st.StopFinished("a", 137), st.StopFinished("a", 137))
    assert scene.states("a").count((0, "STOPPED")) == 1


def test_a_replica_that_is_to_end_soon_is_told_so_at_once_and_when_tried_again(
    scene: Scene,
) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    stop = ef.StopContainer("a", within_ms=30_000)
    assert scene.incremental(to_stop("a", within_ms=30_000)) == [stop]
    scene.happen(st.StopFailed("a", "engine busy"))
    assert scene.pass_s(5) == [stop]


def test_a_replica_that_has_not_started_stops_at_once(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.incremental(to_stop("a"))
    assert scene.states("a") == [(0, "STOPPED")]
    assert scene.happen(st.Prepared("a")) == []


def test_a_replica_being_started_is_stopped_when_its_start_is_over(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.happen(st.Prepared("a"))
    assert scene.incremental(to_stop("a")) == []
    assert ef.StopContainer("a") in scene.happen(scene.started("a"))


def test_a_stop_that_fails_is_tried_again(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.incremental(to_stop("a"))
    assert scene.happen(st.StopFailed("a", "engine busy")) == []
    assert scene.pass_s(5) == [ef.StopContainer("a")]


def test_a_stop_for_an_unknown_replica_reports_it_as_ended(scene: Scene) -> None:
    scene.complete(to_stop("a"))
    seen = scene.last_seen("a")
    assert (seen.state, seen.final) == (ReplicaState.STOPPED, True)


def test_what_a_complete_list_does_not_name_is_stopped(scene: Scene) -> None:
    scene.complete(to_run("a"), to_run("b"))
    scene.run("a")
    scene.run("b")
    assert scene.complete(to_run("b")) == [ef.StopContainer("a")]


def test_forgetting_removes_the_record_and_the_container(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.incremental(to_stop("a"))
    scene.happen(st.StopFinished("a", 0))
    assert scene.incremental(to_forget("a")) == [ef.RemoveContainer("a")]
    assert scene.state("a") is None


def test_forgetting_what_still_runs_stops_it_first(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    assert scene.incremental(to_forget("a")) == [ef.StopContainer("a")]


def test_an_end_the_log_missed_is_told_again(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.incremental(to_stop("a"))
    scene.happen(st.StopFinished("a", 0))
    scene.complete(to_stop("a"))
    assert scene.states("a").count((0, "STOPPED")) == 1, "its report is still on its way"
    scene.happen(st.Acknowledged(scene.reports[-1].number))
    scene.complete(to_stop("a"))
    assert scene.states("a").count((0, "STOPPED")) == 2


def test_health_is_reported_when_it_changes(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.run("a")
    scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY, "probe: 500"))
    scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY, "probe: 500"))
    assert scene.states("a").count((0, "RUNNING")) == 2
    assert scene.last_seen("a").health is Health.UNHEALTHY
    assert scene.last_seen("a").container_id == "c-a"


def test_a_probe_may_be_quicker_than_the_start(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.happen(st.Prepared("a"))
    scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY, "probe: 500"), scene.started("a"))
    assert scene.states("a") == [(0, "STARTING"), (0, "RUNNING")]
    assert scene.last_seen("a").health is Health.UNHEALTHY


class TestRestarts:
    def test_an_end_leads_to_a_restart_after_the_delay(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        scene.happen(st.ContainerEnded("a", 0, 1))
        seen = scene.last_seen("a")
        assert (seen.state, seen.final, seen.exit_code) == (ReplicaState.FAILED, False, 1)
        assert ef.Wake(scene.now_us + 15_000_000) in scene.effects
        assert scene.pass_s(14) == []
        assert ef.StartContainer("a", 1, spec()) in scene.pass_s(1)
        scene.happen(scene.started("a", 1))
        assert scene.states("a")[-3:] == [(0, "FAILED"), (1, "STARTING"), (1, "RUNNING")]

    def test_after_two_restarts_in_half_an_hour_it_failed(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        for restart in (1, 2):
            scene.happen(st.ContainerEnded("a", restart - 1, 0))
            scene.pass_s(15)
            scene.happen(scene.started("a", restart))
        scene.happen(st.ContainerEnded("a", 2, 0))
        seen = scene.last_seen("a")
        assert (seen.state, seen.final) == (ReplicaState.FAILED, True)
        assert seen.reason == ("ended with exit code 0; restarted 2 times within 30 min, giving up")

    def test_old_restarts_do_not_count(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        for restart in range(1, 6):
            scene.happen(st.ContainerEnded("a", restart - 1, 9))
            assert not scene.last_seen("a").final
            scene.pass_s(15)
            scene.happen(scene.started("a", restart))
            scene.pass_s(16 * 60)

    def test_restarts_dated_in_the_future_do_not_count(self, scene: Scene) -> None:
        """They are from before the clock was set back."""
        scene.complete(to_run("a"))
        scene.run("a")
        for restart in (1, 2):
            scene.happen(st.ContainerEnded("a", restart - 1, 9))
            scene.pass_s(15)
            scene.happen(scene.started("a", restart))
        scene.now_us -= 7 * 24 * 3600 * 1_000_000
        scene.happen(st.ContainerEnded("a", 2, 9))
        assert not scene.last_seen("a").final

    def test_a_clock_set_back_does_not_prolong_the_delay(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        scene.happen(st.ContainerEnded("a", 0, 1))
        scene.pass_s(-3600)
        assert ef.StartContainer("a", 1, spec()) in scene.pass_s(15)

    @pytest.mark.parametrize(
        ("restart", "exit_code", "state", "final"),
        [
            (RestartPolicy.ALWAYS, 0, ReplicaState.FAILED, False),
            (RestartPolicy.ALWAYS, 3, ReplicaState.FAILED, False),
            (RestartPolicy.ON_FAILURE, 0, ReplicaState.COMPLETE, True),
            (RestartPolicy.ON_FAILURE, 3, ReplicaState.FAILED, False),
            (RestartPolicy.NEVER, 0, ReplicaState.COMPLETE, True),
            (RestartPolicy.NEVER, 3, ReplicaState.FAILED, True),
        ],
    )
    def test_the_author_says_what_an_end_means(
        self,
        scene: Scene,
        restart: RestartPolicy,
        exit_code: int,
        state: ReplicaState,
        final: bool,
    ) -> None:
        scene.complete(to_run("a", spec(restart=restart)))
        scene.run("a")
        scene.happen(st.ContainerEnded("a", 0, exit_code))
        seen = scene.last_seen("a")
        assert (seen.state, seen.final, seen.exit_code) == (state, final, exit_code)

    def test_a_container_that_does_not_start_counts_as_ended(self, scene: Scene) -> None:
        scene.complete(to_run("a", spec(restart=RestartPolicy.NEVER)))
        scene.happen(st.Prepared("a"))
        scene.happen(st.StartFailed("a", 0, "port taken"))
        seen = scene.last_seen("a")
        assert (seen.state, seen.final, seen.reason) == (ReplicaState.FAILED, True, "port taken")

    def test_an_end_told_before_the_start_was_confirmed_counts_once(self, scene: Scene) -> None:
        scene.complete(to_run("a", spec(restart=RestartPolicy.NEVER)))
        scene.happen(st.Prepared("a"))
        scene.happen(st.ContainerEnded("a", 0, 0), scene.started("a"))
        assert scene.states("a") == [(0, "STARTING"), (0, "COMPLETE")]

    def test_the_end_of_an_earlier_start_is_old_news(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        scene.happen(st.ContainerEnded("a", 0, 1))
        scene.pass_s(15)
        scene.happen(scene.started("a", 1))
        assert scene.happen(st.ContainerEnded("a", 0, 1)) == []
        assert scene.state("a") is ReplicaState.RUNNING

    def test_a_stop_while_it_waits_makes_the_end_final(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        scene.happen(st.ContainerEnded("a", 0, 7))
        scene.incremental(to_stop("a"))
        seen = scene.last_seen("a")
        assert (seen.state, seen.final, seen.exit_code) == (ReplicaState.FAILED, True, 7)


class TestPreparing:
    def test_a_missing_image_rejects_the_replica_after_retries(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        fault = st.PrepareFailed("a", "image not found: nginx", unobtainable=True)
        assert scene.happen(fault) == []
        assert scene.pass_s(1) == [ef.PrepareReplica("a", spec())]
        assert scene.happen(fault) == []
        assert scene.pass_s(1) == []
        assert scene.pass_s(1) == [ef.PrepareReplica("a", spec())]
        scene.happen(fault)
        seen = scene.last_seen("a")
        assert (seen.state, seen.final) == (ReplicaState.REJECTED, True)
        assert (seen.reason, seen.unobtainable) == ("image not found: nginx", True)

    def test_a_node_that_cannot_fetch_it_says_no_more_than_that(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        for _ in range(3):
            scene.happen(st.PrepareFailed("a", "no route to the registry"))
            scene.pass_s(2)
        seen = scene.last_seen("a")
        assert (seen.state, seen.final) == (ReplicaState.REJECTED, True)
        assert not seen.unobtainable

    def test_a_reason_is_cut_by_its_bytes(self, scene: Scene) -> None:
        scene.complete(to_run("a", spec(restart=RestartPolicy.NEVER)))
        scene.happen(st.Prepared("a"))
        scene.happen(st.StartFailed("a", 0, "no image: " + "\N{CLOUD}" * 5_000))
        assert len(scene.last_seen("a").reason.encode()) == 1_024

    def test_how_far_it_is_goes_into_the_log_and_changes_nothing_else(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.happen(st.PrepareProgress("a", "pulling 40 %"))
        seen = scene.last_seen("a")
        assert (seen.state, seen.reason, seen.final) == (
            ReplicaState.PREPARING,
            "pulling 40 %",
            False,
        )
        scene.happen(st.PrepareProgress("gone", "pulling 40 %"))
        assert scene.reboot() == [ef.PrepareReplica("a", spec())], "at once, and from the beginning"
        scene.connect(last_report_number=1)
        scene.run("a")
        scene.happen(st.PrepareProgress("a", "pulling 50 %"))
        assert scene.states("a")[-2:] == [(0, "STARTING"), (0, "RUNNING")]

    def test_pauses_between_fetches_double_up_to_the_longest(self) -> None:
        policy = AgentPolicy(prepare_retry_delay_us=1_000, prepare_longest_pause_us=5_000)
        pauses = [retry_pause_us(policy, failures, 1.0) for failures in (1, 2, 3, 4, 5_000)]
        assert pauses == [1_000, 2_000, 4_000, 5_000, 5_000]
        assert retry_pause_us(policy, 2, 0.0) == 1_000


class TestComingBack:
    def test_replicas_are_taken_up_where_they_were(self, scene: Scene) -> None:
        scene.complete(to_run("a"), to_run("b"), to_run("c"), to_run("d"))
        for replica_id in "abc":
            scene.run(replica_id)
        scene.happen(st.Prepared("d"))
        effects = scene.reboot(running("a"), gone("b", 3))
        # d was about to be started: nobody knows whether it was, and to start twice is harmless.
        assert ef.PrepareReplica("d", spec()) not in effects
        assert ef.StartContainer("d", 0, spec()) in effects
        scene.connect(last_report_number=0)
        assert scene.state("a") is ReplicaState.RUNNING
        assert (scene.last_seen("b").state, scene.last_seen("b").exit_code) == (
            ReplicaState.FAILED,
            3,
        )
        assert "was gone" in scene.last_seen("c").reason

    def test_a_start_that_was_not_confirmed_is_found_running(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.happen(st.Prepared("a"))
        assert scene.reboot(running("a")) == []
        assert scene.state("a") is ReplicaState.RUNNING

    def test_a_replica_that_was_never_started_begins_anew(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        assert scene.reboot() == [ef.PrepareReplica("a", spec())]

    def test_the_restart_delay_goes_on(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        scene.happen(st.ContainerEnded("a", 0, 1))
        scene.now_us += 10_000_000
        assert scene.reboot(gone("a", 1)) == []
        scene.pass_s(5)
        assert ef.StartContainer("a", 1, spec()) in scene.happen(st.Prepared("a"))

    def test_an_unknown_container_waits_for_the_complete_list(self) -> None:
        scene = Scene()
        assert scene.boot(running("a"), running("b"), gone("c", 0)) == [ef.RemoveContainer("c")]
        scene.connect()
        assert scene.complete(to_run("a"))[0] == ef.StopContainer("b")
        assert scene.states("a") == [(0, "RUNNING")]

    def test_what_was_to_stop_is_stopped(self, scene: Scene) -> None:
        scene.complete(to_run("a"))
        scene.run("a")
        scene.incremental(to_stop("a"))
        assert scene.reboot(running("a")) == [ef.StopContainer("a")]


def test_an_image_that_vanished_is_fetched_again(scene: Scene) -> None:
    scene.complete(to_run("a"))
    scene.happen(st.Prepared("a"))
    scene.happen(st.StartFailed("a", 0, "image not found: nginx", image_missing=True))
    assert ef.PrepareReplica("a", spec()) in scene.pass_s(15)
    assert ef.StartContainer("a", 1, spec()) in scene.happen(st.Prepared("a"))


def test_a_container_that_could_not_start_is_started_again_without_another_fetch(
    scene: Scene,
) -> None:
    scene.complete(to_run("a"))
    scene.happen(st.Prepared("a"))
    scene.happen(st.StartFailed("a", 0, "port taken"))
    assert ef.StartContainer("a", 1, spec()) in scene.pass_s(15)
