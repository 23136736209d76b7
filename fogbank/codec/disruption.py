"""A policy's rules for disruptions to messages and back."""

from __future__ import annotations

from fogbank.domain.disruption import DisruptionRules
from fogbank.v1 import policies_pb2 as pb


def disruption_to_pb(rules: DisruptionRules) -> pb.DisruptionRules:
    """Return the message of the rules."""
    return pb.DisruptionRules(
        moves_at_once=rules.moves_at_once,
        guard_nodes=rules.guard_nodes,
        guard_silent_percent=rules.guard_silent_percent,
        guard_pause_ms=rules.guard_pause_ms,
        absent_image_nodes=rules.absent_image_nodes,
        failure_penalty=rules.failure_penalty,
        failure_fades_ms=rules.failure_fades_ms,
        start_grace_ms=rules.start_grace_ms,
        eviction_grace_ms=rules.eviction_grace_ms,
    )


def disruption_from_pb(message: pb.DisruptionRules) -> DisruptionRules:
    """Return the rules that a message holds."""
    return DisruptionRules(
        message.moves_at_once,
        message.guard_nodes,
        message.guard_silent_percent,
        message.guard_pause_ms,
        message.absent_image_nodes,
        message.failure_penalty,
        message.failure_fades_ms,
        message.start_grace_ms,
        message.eviction_grace_ms,
    )
