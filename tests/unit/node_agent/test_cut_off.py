"""Replicas that their own node stops when it is cut off for too long."""

from __future__ import annotations

import pytest

from fogbank.domain.states import ReplicaState
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.cut_off import REASON
from tests.unit.node_agent.scenes import Scene, running, spec, to_run

STOP_S = 20
GUARDED = spec(stop_after_ms=STOP_S * 1_000)


def beat(scene: Scene) -> int:
    """Let a heartbeat leave, and return its number."""
    scene.happen(st.HeartbeatDue(10.0, 10.0))
    heartbeat = scene.sent[-1]
    assert isinstance(heartbeat, ef.Heartbeat)
    return heartbeat.number


def heed(scene: Scene) -> None:
    """Let the log have all reports, so that the stream stays open."""
    while scene.core.kept.outbox:
        scene.happen(st.Acknowledged(scene.core.kept.last_number))


def idle_for_an_hour() -> Scene:
    """Return a scene with a stream on which no heartbeat wanted an answer for an hour."""
    scene = Scene()
    scene.boot()
    scene.connect()
    scene.complete(to_run("free"))
    scene.run("free")
    heed(scene)
    scene.pass_s(3_600)
    return scene


def starts(effects: list[ef.Effect]) -> list[str]:
    return [each.replica_id for each in effects if isinstance(each, ef.StartContainer)]


def in_contact() -> Scene:
    """Return a scene with a running replica that must not run on, and one that may."""
    scene = Scene()
    scene.boot()
    scene.connect()
    scene.complete(to_run("guarded", GUARDED), to_run("free"))
    scene.run("guarded")
    scene.run("free")
    assert scene.state("guarded") is ReplicaState.RUNNING
    heed(scene)
    return scene


def stops(effects: list[ef.Effect]) -> list[str]:
    return [each.replica_id for each in effects if isinstance(each, ef.StopContainer)]


def test_it_is_stopped_for_good_so_long_after_the_last_heartbeat_that_was_heard() -> None:
    scene = in_contact()
    scene.pass_s(5)
    number = beat(scene)
    scene.pass_s(2)
    scene.happen(st.HeartbeatAnswered(number))
    scene.pass_s(STOP_S - 2.001)
    assert stops(scene.effects) == []
    effects = scene.pass_s(0.001)
    assert stops(effects) == ["guarded"]
    scene.happen(st.StopFinished("guarded", 143))
    seen = scene.last_seen("guarded")
    assert (seen.state, seen.final, seen.reason) == (ReplicaState.STOPPED, True, REASON)
    assert REASON == "cut off for longer than stop_on_client_after"
    assert scene.state("free") is ReplicaState.RUNNING
    # Back again it is not started: elsewhere another one may run.
    scene.complete(to_run("guarded", GUARDED), to_run("free"))
    heed(scene)
    assert scene.pass_s(3_600) == []


def test_it_has_to_be_over_in_the_time_that_was_promised() -> None:
    scene = in_contact()
    scene.pass_s(STOP_S)
    (stop,) = [each for each in scene.effects if isinstance(each, ef.StopContainer)]
    assert stop.hurry


def test_the_instant_counts_at_which_the_heartbeat_left() -> None:
    scene = in_contact()
    first = beat(scene)
    scene.pass_s(10)
    second = beat(scene)
    scene.pass_s(9)
    scene.happen(st.HeartbeatAnswered(first))
    assert stops(scene.pass_s(1)) == ["guarded"]
    assert second == first + 1


def test_heartbeats_that_nobody_answers_do_not_count() -> None:
    scene = in_contact()
    for _ in range(3):
        scene.pass_s(5)
        beat(scene)
    scene.happen(st.HeartbeatAnswered(99))
    assert stops(scene.pass_s(5)) == ["guarded"]


def test_a_clock_that_is_set_changes_nothing() -> None:
    scene = in_contact()
    scene.now_us -= 3_600_000_000
    scene.pass_s(STOP_S - 1)
    assert stops(scene.effects) == []
    assert stops(scene.pass_s(1)) == ["guarded"]


def test_a_host_that_slept_stops_it_when_it_wakes() -> None:
    scene = in_contact()
    scene.boot_us += 3_600_000_000
    assert stops(scene.happen(st.HeartbeatDue(1.0, 1.0))) == ["guarded"]


def test_a_welcome_tells_that_the_hello_was_heard() -> None:
    scene = in_contact()
    scene.pass_s(15)
    scene.happen(st.StreamClosed())
    scene.open()
    scene.pass_s(4)
    scene.welcome()
    scene.pass_s(15)
    assert stops(scene.effects) == []
    assert stops(scene.pass_s(1)) == ["guarded"]


def test_heartbeats_leave_often_enough_for_the_shortest_time_whatever_the_period() -> None:
    scene = in_contact()
    third_s = STOP_S / 3
    asked = []
    for _ in range(6):
        effects = scene.pass_s(third_s - 0.01)
        assert ef.BeatNow(1) not in effects
        asked.append(ef.BeatNow(1) in scene.pass_s(0.02))
        scene.happen(st.HeartbeatAnswered(beat(scene)))
    assert all(asked)
    assert scene.state("guarded") is ReplicaState.RUNNING


def test_a_heartbeat_that_is_lost_is_followed_by_another_in_time() -> None:
    scene = in_contact()
    scene.happen(st.HeartbeatAnswered(beat(scene)))
    for _ in range(2):
        assert ef.BeatNow(1) in scene.pass_s(STOP_S / 3 + 0.01)
        beat(scene)
    assert stops(scene.pass_s(STOP_S / 3)) == ["guarded"]


def test_a_regular_heartbeat_makes_another_one_needless() -> None:
    scene = in_contact()
    for _ in range(6):
        assert ef.BeatNow(1) not in scene.pass_s(5)
        scene.happen(st.HeartbeatAnswered(beat(scene)))


def test_nobody_asks_for_answers_while_nothing_is_guarded() -> None:
    scene = Scene()
    scene.boot()
    scene.connect()
    scene.complete(to_run("free"))
    assert beat(scene) == 0


def test_a_new_one_waits_for_an_answer_if_the_last_contact_is_long_ago() -> None:
    scene = idle_for_an_hour()
    effects = scene.incremental(to_run("guarded", GUARDED))
    assert ef.BeatNow(1) in effects
    assert starts(scene.happen(st.Prepared("guarded"))) == []
    assert starts(scene.happen(st.HeartbeatAnswered(beat(scene)))) == ["guarded"]


def test_one_that_never_got_to_run_ends_too() -> None:
    scene = idle_for_an_hour()
    scene.incremental(to_run("guarded", GUARDED))
    scene.happen(st.Prepared("guarded"))
    scene.pass_s(STOP_S)
    seen = scene.last_seen("guarded")
    assert (seen.state, seen.reason) == (ReplicaState.STOPPED, REASON)


def test_after_a_restart_of_the_agent_it_waits_for_a_welcome() -> None:
    scene = in_contact()
    scene.happen(st.ContainerEnded("guarded", 0, 1), st.ContainerEnded("free", 0, 1))
    scene.pass_s(5)
    scene.reboot()
    scene.pass_s(15)
    assert starts(scene.happen(st.Prepared("guarded"), st.Prepared("free"))) == ["free"]
    scene.open()
    assert starts(scene.welcome(last_report_number=2)) == ["guarded"]


@pytest.mark.parametrize("welcomed", [True, False])
def test_one_that_runs_on_while_the_agent_starts_anew_has_its_time(welcomed: bool) -> None:
    scene = in_contact()
    scene.pass_s(5)
    scene.reboot(running("guarded"), running("free"))
    if welcomed:
        scene.connect()
    scene.pass_s(STOP_S - 1)
    assert stops(scene.effects) == []
    assert stops(scene.pass_s(1)) == ["guarded"]


def test_one_that_was_being_started_is_held_back_too() -> None:
    scene = Scene()
    scene.boot()
    scene.connect()
    scene.complete(to_run("guarded", GUARDED))
    scene.happen(st.Prepared("guarded"))
    scene.reboot()
    assert starts(scene.effects) == []
    scene.connect()
    assert starts(scene.effects) == ["guarded"]


def test_a_rule_that_comes_later_holds_from_then_on() -> None:
    scene = idle_for_an_hour()
    scene.incremental(to_run("free", GUARDED))
    assert stops(scene.pass_s(STOP_S - 1)) == []
    assert stops(scene.pass_s(1)) == ["free"]
