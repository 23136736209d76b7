"""The events that begin a fleet: whoever writes them, they are the same."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.ids import genesis_event_id
from fogbank.domain.policy import Policy


def genesis(fleet: str, policy: Policy, now_us: int) -> tuple[EventEnvelope, ...]:
    """Return the first events: organization 1 of everybody, its unlimited cluster 1, the policy."""
    steps: tuple[tuple[str, str, ev.Event], ...] = (
        ("organization", "organization/1", ev.OrganizationCreated("default")),
        ("cluster", "cluster/1", ev.ClusterCreated("default", 1)),
        ("policy", "policy", ev.PolicyActivated(policy)),
    )
    return tuple(
        EventEnvelope(
            genesis_event_id(fleet, step),
            event,
            aggregate=aggregate,
            actor="system/genesis",
            occurred_at_us=now_us,
        )
        for step, aggregate, event in steps
    )
