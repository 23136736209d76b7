"""Who is silent, and who decides."""

from fogbank.domain import events as ev
from fogbank.domain.deployment import DisconnectRules
from fogbank.domain.fleet import FleetState
from fogbank.domain.policy import Policy
from fogbank.domain.state_encoding import decode_state, encode_state
from fogbank.placement.movements import lost_after_us
from services.scheduler.core.answers import Unanswered
from services.scheduler.core.leadership import TAKEOVER_US, Leadership
from services.scheduler.core.liveness import Liveness, silent_after_us
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import an_id


def listened(liveness: Liveness, fleet: FleetState, until_us: int) -> None:
    """Let a scheduler listen from an instant 0 on."""
    for at_us in range(0, until_us, 5_000_000):
        liveness.listens(fleet, at_us)
    liveness.listens(fleet, until_us)


def test_a_node_is_silent_after_three_periods_and_not_before() -> None:
    fleet = LittleFleet()
    node_id = fleet.connect("fog-0")
    state, liveness = fleet.planner.fleet, Liveness()
    epoch = state.facts.nodes[node_id].epoch
    liveness.listens(state, 0)
    liveness.heard(node_id, epoch, 1_000)
    bound_us = silent_after_us(state)
    assert bound_us == 15_000_000
    assert liveness.next_silence_us(state, 1_000) == 1_000 + bound_us
    listened(liveness, state, 999 + bound_us)
    assert liveness.silences(state, 999 + bound_us, 0) == ()
    (silence,) = liveness.silences(state, 1_000 + bound_us, 5)
    assert (silence.node_id, silence.epoch, silence.last_heard_at_us) == (node_id, epoch, 1_005)
    assert liveness.heard_in_time(state, 1_000 + bound_us) == 0


def test_nodes_that_were_removed_do_not_make_heartbeats_rarer() -> None:
    fleet = LittleFleet()
    fleet.fact(ev.PolicyActivated(Policy(heartbeat_period_ms=1, silent_periods=2, lost_after_ms=1)))
    for number in range(5):
        fleet.connect(f"fog-{number}")
    state = fleet.planner.fleet
    assert (state.node_count, silent_after_us(state)) == (5, 10_000)
    for number in range(3):
        fleet.fact(ev.NodeRemoved(an_id(f"fog-{number}")))
    fleet.fact(ev.NodeRemoved(an_id("fog-0")))
    assert (state.node_count, silent_after_us(state)) == (2, 4_000)
    assert lost_after_us(state, DisconnectRules()) == 4_000
    begun = FleetState()
    decode_state(begun.parts, encode_state(state.parts))
    begun.stands_at(state.position, state.due_digest)
    assert begun.node_count == 2


def test_signs_of_life_of_an_old_epoch_do_not_count() -> None:
    fleet = LittleFleet()
    node_id = fleet.connect("fog-0")
    state, liveness = fleet.planner.fleet, Liveness()
    old = state.facts.nodes[node_id].epoch
    fleet.connect("fog-0")
    liveness.restart(state, 0)
    liveness.heard(node_id, old, 99_000_000)
    listened(liveness, state, 20_000_000)
    assert len(liveness.silences(state, 20_000_000, 0)) == 1


def test_who_did_not_listen_knows_of_nobodys_silence() -> None:
    fleet = LittleFleet()
    for number in range(3):
        fleet.connect(f"fog-{number}")
    state, liveness = fleet.planner.fleet, Liveness()
    assert liveness.listens(state, 0), "from now on"
    assert not liveness.listens(state, 5_000_000)
    assert liveness.silences(state, 50_000_000, 0) == ()
    assert liveness.next_silence_us(state, 50_000_000) is None
    assert liveness.listens(state, 50_000_000), "after 45 s in which nothing could be heard"
    assert liveness.next_silence_us(state, 50_000_000) == 65_000_000
    for at_us in (54_000_000, 58_000_000, 62_000_000, 64_999_999):
        assert not liveness.listens(state, at_us)
        assert liveness.silences(state, at_us, 0) == ()
    assert len(liveness.silences(state, 65_000_000, 0)) == 3
    assert liveness.silences(state, 65_000_000, 0)[0].last_heard_at_us == 50_000_000


def test_whether_it_listens_is_found_out_twice_a_period() -> None:
    state, liveness = LittleFleet().planner.fleet, Liveness()
    liveness.listens(state, 1_000)
    assert liveness.ask_at_us(state) == 1_000 + 2_500_000


def test_a_node_put_offline_is_not_reported_again() -> None:
    fleet = LittleFleet()
    node_id = fleet.connect("fog-0")
    fleet.connect("fog-1")
    liveness = Liveness()
    liveness.restart(fleet.planner.fleet, 0)
    fleet.decide(fleet.silence(node_id))
    listened(liveness, fleet.planner.fleet, 60_000_000)
    found = liveness.silences(fleet.planner.fleet, 60_000_000, 0)
    assert [silence.node_id for silence in found] != [node_id]
    assert len(found) == 1


def test_the_author_of_the_last_round_decides_at_once_and_others_stand_by() -> None:
    leadership = Leadership("one")
    assert leadership.may_decide_at_us(5) == 5, "nobody leads yet"
    leadership.round_counted("two")
    assert not leadership.leading
    assert leadership.may_decide_at_us(10) == 10 + TAKEOVER_US
    assert leadership.may_decide_at_us(500) == 10 + TAKEOVER_US, "counted from the first sight"
    leadership.round_counted("two")
    assert leadership.may_decide_at_us(700) == 700 + TAKEOVER_US, "the leader works"
    leadership.nothing_to_do()
    assert leadership.may_decide_at_us(900) == 900 + TAKEOVER_US
    leadership.round_counted("one")
    assert leadership.may_decide_at_us(1_000) == 1_000


def test_who_leads_answers_heartbeats_of_nodes_that_live_in_their_present_epoch() -> None:
    fleet = LittleFleet()
    alive, old, silent = (fleet.connect(name) for name in ("alive", "old", "silent"))
    state = fleet.planner.fleet
    epochs = {node_id: state.facts.nodes[node_id].epoch for node_id in (alive, old, silent)}
    fleet.connect("old")
    fleet.decide(fleet.silence(silent))
    unanswered = Unanswered()
    assert not unanswered.heard(alive, epochs[alive], 0), "wants no answer"
    assert unanswered.heard(alive, epochs[alive], 1)
    assert not unanswered.heard(alive, epochs[alive], 2)
    for node_id in (old, silent, "unknown"):
        unanswered.heard(node_id, epochs.get(node_id, 1), 9)
    assert unanswered.take(state, leading=True) == [(alive, epochs[alive], 2)]
    assert unanswered.take(state, leading=True) == []
    unanswered.heard(alive, epochs[alive], 3)
    assert unanswered.take(state, leading=False) == []
    assert unanswered.heard(alive, epochs[alive], 4), "what a standby heard is forgotten"
