"""What nodes say, as events in their envelopes."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.decisions import Desired, PlacedReplica
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import report_event_id
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.position import pack
from services.gateway.core.agent_messages import CapacityChange, Report
from services.gateway.core.hello import Hello
from services.gateway.core.load_steps import LoggedLoad


def _envelope(
    node_id: str, event_id: str, event: ev.Event, now_us: int, causes: tuple[int, ...] = ()
) -> EventEnvelope:
    return EventEnvelope(
        event_id,
        event,
        aggregate=f"node/{node_id}",
        actor=f"node/{node_id}",
        occurred_at_us=now_us,
        causes=causes,
    )


def connected(hello: Hello, event_id: str, now_us: int) -> EventEnvelope:
    """Return the event of a handshake; its position will be the node's epoch."""
    event = ev.NodeConnected(hello.node_id, hello.name, hello.fingerprint, hello.details)
    return _envelope(hello.node_id, event_id, event, now_us)


def reported(node_id: str, report: Report, fleet: FleetState, now_us: int) -> EventEnvelope:
    """Return the event of a report, with the assignments in the fleet that it answers.

    What it says of replicas that no round placed on the node is left out: it means nothing to
    anybody, and every reader would keep it for ever. No agent was told of a replica before the
    round that placed it was folded, here or before the handshake that was folded here.
    """
    own = [
        (seen, placed)
        for seen in report.observations
        if (placed := fleet.decisions.placements.get(seen.replica_id)) is not None
        and placed.node_id == node_id
    ]
    return _envelope(
        node_id,
        report_event_id(node_id, report.number, report.epoch),
        ev.NodeReported(node_id, report.epoch, report.number, tuple(seen for seen, _placed in own)),
        now_us,
        tuple(_assignment(placed, seen) for seen, placed in own),
    )


def _assignment(placed: PlacedReplica, seen: ReplicaObservation) -> int:
    """Return the round that placed a replica, or the one that wanted the end which was seen."""
    if placed.desired is Desired.RELEASED and seen.state.ended:
        return pack(placed.decided_sequence, 0)
    return pack(placed.placed_sequence, 0)


def capacity_changed(
    node_id: str, epoch: int, change: CapacityChange, event_id: str, now_us: int
) -> EventEnvelope:
    """Return the event of a host that changed."""
    event = ev.NodeCapacityChanged(node_id, epoch, change.fingerprint, change.details)
    return _envelope(node_id, event_id, event, now_us)


def load_changed(
    node_id: str, epoch: int, load: LoggedLoad, reflects_sequence: int, event_id: str
) -> EventEnvelope:
    """Return the event of a load that moved by a step."""
    event = ev.NodeLoadChanged(
        node_id, epoch, load.cpu_percent, load.memory_percent, reflects_sequence
    )
    return _envelope(node_id, event_id, event, load.logged_at_us)
