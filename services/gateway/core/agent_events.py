"""What nodes say, as events in their envelopes."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.ids import report_event_id
from fogbank.domain.node import Fingerprint
from services.gateway.core.agent_messages import Report
from services.gateway.core.hello import Hello
from services.gateway.core.load_steps import LoggedLoad


def _envelope(node_id: str, event_id: str, event: ev.Event, now_us: int) -> EventEnvelope:
    return EventEnvelope(
        event_id,
        event,
        aggregate=f"node/{node_id}",
        actor=f"node/{node_id}",
        occurred_at_us=now_us,
    )


def connected(hello: Hello, event_id: str, now_us: int) -> EventEnvelope:
    """Return the event of a handshake; its position will be the node's epoch."""
    event = ev.NodeConnected(hello.node_id, hello.name, hello.fingerprint)
    return _envelope(hello.node_id, event_id, event, now_us)


def reported(node_id: str, report: Report, now_us: int) -> EventEnvelope:
    """Return the event of a report."""
    return _envelope(
        node_id,
        report_event_id(node_id, report.number, report.epoch),
        ev.NodeReported(node_id, report.epoch, report.number, report.observations),
        now_us,
    )


def capacity_changed(
    node_id: str, epoch: int, fingerprint: Fingerprint, event_id: str, now_us: int
) -> EventEnvelope:
    """Return the event of a host that changed."""
    return _envelope(node_id, event_id, ev.NodeCapacityChanged(node_id, epoch, fingerprint), now_us)


def load_changed(
    node_id: str, epoch: int, load: LoggedLoad, reflects_sequence: int, event_id: str
) -> EventEnvelope:
    """Return the event of a load that moved by a step."""
    event = ev.NodeLoadChanged(
        node_id, epoch, load.cpu_percent, load.memory_percent, reflects_sequence
    )
    return _envelope(node_id, event_id, event, load.logged_at_us)
