"""What no fact may say, whoever wrote it: values that readers of the log could not bear.

These bounds are wide. What users may ask for is narrower and checked at the door; this keeps a
slip there from stopping every reader of the log for ever.
"""

from __future__ import annotations

from math import isfinite
from uuid import UUID

from fogbank.domain import events as ev
from fogbank.domain.node import Fingerprint
from fogbank.domain.policy import Policy
from fogbank.domain.resources import Resources

MAX_AMOUNT = 1 << 40
MAX_REPLICAS = 10_000
MAX_RETRIES = 100
# The last microsecond of the year 9999.
MAX_INSTANT_US = 253_402_300_799_999_999


def malformed(event_id: str, event: ev.Event) -> bool:
    """Tell whether a fact says what no fact may say."""
    match event:
        case ev.DeploymentCreated():
            spec = event.spec
            return not (
                _is_uuid(event_id) and _bearable(spec.resources) and _countable(spec.replicas)
            )
        case ev.DeploymentScaled():
            return not _countable(event.replicas)
        case ev.NodeConnected():
            return not (_is_uuid(event.node_id) and _offers(event.fingerprint))
        case ev.NodeCapacityChanged():
            return not _offers(event.fingerprint)
        case ev.NodeDraining():
            return not 0 <= event.deadline_us <= MAX_INSTANT_US
        case ev.PolicyActivated():
            return not _usable(event.policy)
        case _:
            return False


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _countable(replicas: int) -> bool:
    return 0 <= replicas <= MAX_REPLICAS


def _bearable(amounts: Resources) -> bool:
    return all(
        0 <= amount <= MAX_AMOUNT
        for amount in (
            amounts.cpu_millicores,
            amounts.memory_mib,
            amounts.storage_gib,
            amounts.gpu_thousandths,
        )
    )


def _offers(fingerprint: Fingerprint) -> bool:
    return _bearable(fingerprint.capacity) and _bearable(fingerprint.allocatable)


def _usable(policy: Policy) -> bool:
    weights = (
        policy.resource_weight,
        policy.cpu_load_weight,
        policy.memory_load_weight,
        policy.locality_weight,
    )
    rules = policy.disruption
    times = (
        *policy.retry_backoff_ms,
        policy.heartbeat_period_ms,
        policy.silent_periods,
        policy.lost_after_ms,
        policy.reschedule_delay_ms,
        policy.reschedule_delay_max_ms,
        rules.moves_at_once,
        rules.guard_nodes,
        rules.guard_silent_percent,
        rules.guard_pause_ms,
        rules.absent_image_nodes,
        rules.failure_penalty,
        rules.failure_fades_ms,
    )
    return (
        all(isfinite(weight) and 0 <= weight <= 1 for weight in weights)
        and all(0 <= time <= MAX_AMOUNT for time in times)
        and len(policy.retry_backoff_ms) <= MAX_RETRIES
    )
