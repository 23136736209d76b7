"""Rebalances: what may be asked for, and the request as an event."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.envelope import CommandTerms, EventEnvelope
from fogbank.domain.errors import FieldViolation, InvalidArgumentError
from fogbank.domain.ids import command_event_id
from fogbank.domain.rebalancing import MOST_POINTS, RebalanceTerms
from services.gateway.core.commands import content_digest

APPLY = "ApplyRebalance"

MAX_BUDGET = 10_000
MAX_AT_ONCE = 1_000
DEFAULT_TERMS = RebalanceTerms(budget=100, min_gain=10, at_once=10)


def check_terms(terms: RebalanceTerms) -> RebalanceTerms:
    """Return terms; InvalidArgumentError unless each is within its bounds."""
    bounds = (
        ("budget", terms.budget, 0, MAX_BUDGET),
        ("min_gain", terms.min_gain, 1, MOST_POINTS),
        ("at_once", terms.at_once, 1, MAX_AT_ONCE),
    )
    violations = tuple(
        FieldViolation(f"terms.{name}", f"must be between {least} and {most}, got {given}")
        for name, given, least, most in bounds
        if not least <= given <= most
    )
    if violations:
        text = "; ".join(f"{wrong.field} {wrong.description}" for wrong in violations)
        raise InvalidArgumentError(text, violations=violations)
    return terms


def rebalance_envelope(
    user_id: str, request_id: str, terms: RebalanceTerms, now_us: int
) -> EventEnvelope:
    """Return the event of a request."""
    event_id = command_event_id(user_id, APPLY, request_id)
    content = {
        "budget": terms.budget,
        "min_gain": terms.min_gain,
        "at_once": terms.at_once,
    }
    return EventEnvelope(
        event_id,
        ev.RebalanceRequested(terms.budget, terms.min_gain, terms.at_once),
        aggregate="fleet",
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(APPLY, content)),
    )
