"""What no fact may say, whoever wrote it: the checker's own reading of the widest bounds."""

from __future__ import annotations

from math import isfinite
from uuid import UUID

from fogbank.checker.world import amounts
from fogbank.v1 import facts_pb2, nodes_pb2, policies_pb2, resources_pb2

_MOST = 1 << 40
_MOST_REPLICAS = 10_000
_MOST_RETRIES = 100
# The last microsecond of the year 9999.
_LAST_INSTANT_US = 253_402_300_799_999_999


def out_of_bounds(event_id: str, event: object) -> str:
    """Return what of a fact no reader could bear, in words; empty if all is well."""
    match event:
        case facts_pb2.DeploymentCreated():
            return (
                _no_id(event_id) or _unbearable(event.spec.resources) or _many(event.spec.replicas)
            )
        case facts_pb2.DeploymentScaled():
            return _many(event.replicas)
        case facts_pb2.NodeConnected():
            return _no_id(event.node_id) or _fingerprint(event.fingerprint)
        case facts_pb2.NodeCapacityChanged():
            return _fingerprint(event.fingerprint)
        case facts_pb2.NodeDraining():
            wrong = not 0 <= event.deadline_us <= _LAST_INSTANT_US
            return f"a deadline of {event.deadline_us}" if wrong else ""
        case facts_pb2.PolicyActivated():
            return _policy(event.policy)
        case _:
            return ""


def _no_id(text: str) -> str:
    try:
        UUID(text)
    except ValueError:
        return f"{text!r} is no UUID"
    return ""


def _many(replicas: int) -> str:
    return "" if 0 <= replicas <= _MOST_REPLICAS else f"{replicas} replicas"


def _unbearable(resources: resources_pb2.Resources) -> str:
    wrong = [amount for amount in amounts(resources) if not 0 <= amount <= _MOST]
    return f"an amount of {wrong[0]}" if wrong else ""


def _fingerprint(fingerprint: nodes_pb2.Fingerprint) -> str:
    return _unbearable(fingerprint.capacity) or _unbearable(fingerprint.allocatable)


def _policy(policy: policies_pb2.Policy) -> str:
    for weight in (
        policy.resource_weight,
        policy.cpu_load_weight,
        policy.memory_load_weight,
        policy.locality_weight,
    ):
        if not (isfinite(weight) and 0 <= weight <= 1):
            return f"a weight of {weight}"
    for time in (
        *policy.retry_backoff_ms,
        policy.heartbeat_period_ms,
        policy.silent_periods,
        policy.lost_after_ms,
        policy.reschedule_delay_ms,
        policy.reschedule_delay_max_ms,
        *(value for _field, value in policy.disruption.ListFields()),
    ):
        if not 0 <= time <= _MOST:
            return f"a time of {time}"
    retries = len(policy.retry_backoff_ms)
    return f"{retries} retries" if retries > _MOST_RETRIES else ""
