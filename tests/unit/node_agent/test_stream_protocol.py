"""What the core says to gateways, and what it makes of their answers."""

from fogbank.domain.node import HostDetails
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.kept import EpochKept, ReportSealed
from services.node_agent.core.restarts import AgentPolicy
from tests.unit.node_agent.scenes import FINGERPRINT, PERIOD_MS, Scene, spec, to_run


def booted(policy: AgentPolicy | None = None) -> Scene:
    scene = Scene(policy or AgentPolicy(report_window=8))
    scene.boot()
    return scene


def closes(effects: list[ef.Effect]) -> list[ef.CloseStream]:
    return [each for each in effects if isinstance(each, ef.CloseStream)]


def test_hello_says_what_is_kept_and_what_runs() -> None:
    scene = booted()
    assert scene.open() == [ef.Send(1, ef.Hello(0, 0, FINGERPRINT, ()))]
    scene.welcome()
    scene.complete(to_run("a"), to_run("b"))
    scene.run("a")
    scene.happen(st.StreamClosed())
    scene.open()
    hello = scene.sent[-1]
    assert isinstance(hello, ef.Hello)
    assert (hello.last_epoch, hello.last_sequence) == (2, 101)
    assert [each.replica_id for each in hello.running] == ["a"]


def test_an_epoch_is_saved_and_then_confirmed_by_a_report() -> None:
    scene = booted()
    scene.open()
    scene.welcome()
    saves = [each for each in scene.effects if isinstance(each, ef.Save)]
    assert all(each.urgent for each in saves)
    entries = [entry for each in saves for entry in each.entries]
    assert entries[0] == EpochKept(2)
    assert ReportSealed(1, 0) in entries
    assert scene.reports == [ef.Report(2, 1, ())]
    sent = next(i for i, each in enumerate(scene.effects) if isinstance(each, ef.Send))
    last_save = max(i for i, each in enumerate(scene.effects) if isinstance(each, ef.Save))
    assert last_save < sent


def test_unacknowledged_reports_are_sent_again_in_the_new_epoch_with_their_numbers() -> None:
    scene = booted()
    scene.connect()
    scene.complete(to_run("a"))
    scene.run("a")
    scene.happen(st.Acknowledged(1))
    scene.happen(st.StreamClosed())
    scene.sent.clear()
    scene.connect(last_report_number=1)
    assert [(each.epoch, each.number) for each in scene.reports] == [(3, 2), (3, 3)]
    assert scene.states("a") == [(0, "STARTING"), (0, "RUNNING")]


def test_reports_the_log_has_are_not_sent_again() -> None:
    scene = booted()
    scene.connect()
    scene.complete(to_run("a"))
    scene.run("a")
    scene.happen(st.StreamClosed())
    scene.sent.clear()
    scene.connect(last_report_number=3)
    assert [(each.number, each.observations) for each in scene.reports] == [(4, ())]


def test_what_happens_while_cut_off_is_reported_on_return() -> None:
    scene = booted()
    scene.connect()
    scene.complete(to_run("a"))
    scene.happen(st.Acknowledged(1), st.StreamClosed())
    scene.run("a")
    assert scene.states("a") == []
    scene.connect(last_report_number=1)
    assert scene.states("a") == [(0, "STARTING"), (0, "RUNNING")]


def test_a_log_that_counts_further_is_followed() -> None:
    """The node's disk was put back to an older copy of itself."""
    scene = booted()
    scene.connect(last_report_number=40)
    assert [each.number for each in scene.reports] == [41]


def test_a_log_that_lost_reports_hears_everything_again() -> None:
    """The log was put back to an older copy of itself."""
    scene = booted()
    scene.connect()
    scene.complete(to_run("a"))
    scene.run("a")
    scene.happen(st.Acknowledged(3), st.StreamClosed())
    scene.sent.clear()
    scene.connect(last_report_number=1)
    assert [each.number for each in scene.reports] == [2]
    assert scene.states("a") == [(0, "RUNNING")]


def test_only_so_many_reports_are_on_their_way() -> None:
    scene = booted(AgentPolicy(report_window=2, report_size=2))
    scene.connect()
    scene.complete(*[to_run(name) for name in "abcde"])
    scene.happen(*[st.Prepared(name) for name in "abcde"])
    assert [each.number for each in scene.reports] == [1, 2]
    scene.happen(st.Acknowledged(2))
    assert [len(each.observations) for each in scene.reports] == [0, 2, 2, 1]


def test_an_acknowledgement_alone_needs_no_sync() -> None:
    scene = booted()
    scene.connect()
    scene.happen(st.Acknowledged(1))
    assert [each.urgent for each in scene.effects if isinstance(each, ef.Save)] == [False]


def test_a_gap_in_the_assignments_reopens_the_stream() -> None:
    scene = booted()
    scene.connect()
    scene.complete()
    scene.sequence += 1
    assert "gap" in closes(scene.incremental(to_run("a")))[0].reason
    assert scene.incremental(to_run("b")) == []
    assert scene.state("a") is None


def test_a_change_before_the_complete_list_reopens_the_stream() -> None:
    scene = booted()
    scene.connect()
    assert closes(scene.incremental(to_run("a")))


def test_a_gateway_that_lags_behind_is_left() -> None:
    scene = booted()
    scene.connect()
    scene.complete(to_run("a"))
    scene.happen(st.StreamClosed())
    scene.connect(last_report_number=1)
    scene.sequence -= 5
    assert closes(scene.complete())
    assert scene.state("a") is not None


def test_an_epoch_that_does_not_grow_is_refused() -> None:
    scene = booted()
    scene.connect()
    scene.happen(st.StreamClosed())
    scene.epoch -= 1
    scene.open()
    assert closes(scene.welcome())


def test_a_drain_sends_the_agent_to_another_gateway() -> None:
    scene = booted()
    scene.connect()
    assert scene.happen(st.DrainAsked("restart")) == [
        ef.CloseStream(1, "the gateway drains: restart", redial_now=True)
    ]
    assert scene.happen(st.HeartbeatDue(1, 1)) == []


def test_a_silent_gateway_is_left_when_reports_stay_unacknowledged() -> None:
    scene = booted()
    scene.connect()
    assert scene.pass_s(59) == []
    assert closes(scene.pass_s(1))
    assert closes(scene.pass_s(60)) == []


def test_heartbeats_name_the_assignments_that_the_load_reflects() -> None:
    scene = booted()
    assert scene.happen(st.HeartbeatDue(10, 20)) == []
    scene.connect()
    scene.complete(to_run("a"))
    scene.run("a")
    assert scene.happen(st.HeartbeatDue(10, 20)) == [ef.Send(1, ef.Heartbeat(10, 20, 101))]
    scene.incremental(to_run("b"))
    scene.incremental(to_run("c"))
    assert scene.happen(st.HeartbeatDue(10, 20)) == [ef.Send(1, ef.Heartbeat(10, 20, 101))]
    scene.run("b")
    assert scene.happen(st.HeartbeatDue(10, 20)) == [ef.Send(1, ef.Heartbeat(10, 20, 102))]


def test_the_period_comes_from_the_gateway() -> None:
    scene = booted()
    scene.open()
    assert ef.BeatEvery(1, PERIOD_MS) in scene.welcome()


def test_a_changed_host_is_told_while_connected() -> None:
    scene = booted()
    assert scene.happen(st.FingerprintChanged(FINGERPRINT)) == []
    scene.connect()
    change = scene.happen(st.FingerprintChanged(FINGERPRINT))
    assert change == [ef.Send(1, ef.CapacityChange(FINGERPRINT))]


def test_a_host_that_changes_before_the_welcome_is_told_after_it() -> None:
    details = HostDetails(kernel_release="6.1")
    scene = booted()
    scene.open()
    assert scene.happen(st.FingerprintChanged(FINGERPRINT, details)) == []
    assert ef.Send(1, ef.CapacityChange(FINGERPRINT, details)) in scene.welcome()


def test_what_a_hello_said_is_not_told_again() -> None:
    scene = booted()
    scene.happen(st.FingerprintChanged(FINGERPRINT))
    scene.open()
    assert not any(
        isinstance(effect, ef.Send) and isinstance(effect.message, ef.CapacityChange)
        for effect in scene.welcome()
    )


def test_secrets_stay_out_of_what_is_printed() -> None:
    assert "value" not in repr(spec())
