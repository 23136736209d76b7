"""A report as the log has it: what a node says of replicas that were placed on it."""

from __future__ import annotations

from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.position import pack
from fogbank.domain.states import ReplicaState
from services.gateway.core.agent_events import reported
from services.gateway.core.agent_messages import Report
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec, an_id


def test_what_was_never_placed_on_the_node_is_left_out() -> None:
    fleet = LittleFleet()
    nodes = [fleet.connect(f"fog-{number}") for number in range(2)]
    for number in range(2):
        fleet.deploy(a_spec(f"d{number}", replicas=2))
    fleet.decide()
    state = fleet.planner.fleet
    node = state.facts.nodes[nodes[0]]
    own, others = ([*state.on_node(each)] for each in nodes)
    assert own
    assert others
    seen = fleet.log.seen(own[0].id, ReplicaState.RUNNING)
    said = (
        replace(seen, replica_id=an_id("nobody's")),
        seen,
        replace(seen, replica_id=others[0].id),
        replace(seen, replica_id="no id at all"),
    )

    envelope = reported(node.id, Report(node.epoch, 7, said), state, fleet.log.now_us)

    assert envelope.event == ev.NodeReported(node.id, node.epoch, 7, (seen,))
    assert envelope.causes == (pack(own[0].placed_sequence, 0),)


def test_a_report_of_nothing_that_is_known_still_has_its_number() -> None:
    fleet = LittleFleet()
    node = fleet.planner.fleet.facts.nodes[fleet.connect("fog")]
    stray = fleet.log.seen(an_id("nobody's"), ReplicaState.RUNNING)
    report = Report(node.epoch, node.last_report + 1, (stray,))
    envelope = reported(node.id, report, fleet.planner.fleet, fleet.log.now_us)
    assert envelope.event == ev.NodeReported(node.id, node.epoch, report.number, ())
    assert envelope.causes == ()
