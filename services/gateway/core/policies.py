"""Policies as commands: what is wrong with one, and the event that activates it."""

from __future__ import annotations

from dataclasses import asdict

from fogbank.domain import events as ev
from fogbank.domain.envelope import CommandTerms, EventEnvelope
from fogbank.domain.errors import FieldViolation, InvalidArgumentError, NotFoundError
from fogbank.domain.ids import command_event_id
from fogbank.domain.named_policies import NAMED_POLICIES
from fogbank.domain.policy import Policy
from fogbank.domain.policy_bounds import problems
from services.gateway.core.commands import content_digest

ACTIVATE = "ActivatePolicy"


def named(name: str) -> Policy:
    """Return a known policy, or raise NotFoundError with the names there are."""
    policy = NAMED_POLICIES.get(name)
    if policy is None:
        raise NotFoundError(
            f"There is no policy {name!r}; known are {', '.join(NAMED_POLICIES)}",
            reason="POLICY_NOT_FOUND",
        )
    return policy


def check(policy: Policy) -> None:
    """Raise InvalidArgumentError that says of each wrong field what is allowed and was given."""
    violations = tuple(
        FieldViolation(f"policy.{wrong.field}", f"must be {wrong.allowed}, got {wrong.given}")
        for wrong in problems(policy)
    )
    if violations:
        text = "; ".join(f"{wrong.field} {wrong.description}" for wrong in violations)
        raise InvalidArgumentError(text, violations=violations)


def activate_envelope(user_id: str, request_id: str, policy: Policy, now_us: int) -> EventEnvelope:
    """Return the event that makes a policy the one to decide by."""
    content = {key: value for key, value in asdict(policy).items() if key != "version"}
    return EventEnvelope(
        event_id := command_event_id(user_id, ACTIVATE, request_id),
        ev.PolicyActivated(policy),
        aggregate="policy",
        actor=f"user/{user_id}",
        occurred_at_us=now_us,
        correlation_id=event_id,
        command=CommandTerms(content_digest(ACTIVATE, content)),
    )
