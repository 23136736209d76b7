"""What no fact may say, whoever wrote it: the checker's own reading of the widest bounds."""

from __future__ import annotations

from math import isfinite
from uuid import UUID

from fogbank.checker.world import amounts
from fogbank.v1 import deployments_pb2, facts_pb2, nodes_pb2, policies_pb2, resources_pb2

_MOST = 1 << 40
_MOST_REPLICAS = 10_000
_MOST_MOVES = 1_000_000
_MOST_USES = 1_000_000
_DIGEST_BYTES = 32
_MOST_RETRIES = 100
# The last microsecond of the year 9999.
_LAST_INSTANT_US = 253_402_300_799_999_999
_MOST_CLASSES = 32
_MOST_MIXED = 256
_MOST_GPU = 1_000_000
_MOST_REGIONS = 1_000
_MOST_WEIGHT = 1_000_000
_MOST_WATTS = 1_000_000
_LONGEST_NAME = 100
_STRATEGIES = frozenset(
    {
        "balanced",
        "binpack",
        "spread",
        "least-allocated",
        "most-allocated",
        "balanced-allocation",
        "best-fit",
        "dot-product",
        "gpu-packing",
        "fgd",
        "multi-objective",
        "first-fit",
        "random",
    }
)


def out_of_bounds(event_id: str, event: object) -> str:
    """Return what of a fact no reader could bear, in words; empty if all is well."""
    match event:
        case facts_pb2.DeploymentCreated():
            return _no_id(event_id) or _unaskable(event.spec)
        case facts_pb2.DeploymentUpdated():
            return _unaskable(event.spec)
        case facts_pb2.DeploymentScaled():
            return _many(event.replicas)
        case facts_pb2.NodeConnected():
            return _no_id(event.node_id) or _fingerprint(event.fingerprint)
        case facts_pb2.NodeCapacityChanged():
            return _fingerprint(event.fingerprint)
        case facts_pb2.NodeDraining():
            return _deadline(event.deadline_us)
        case (
            facts_pb2.ClusterCreated()
            | facts_pb2.ClusterQuotaSet()
            | facts_pb2.OrganizationQuotaSet()
        ):
            wrong = [most for _, most in event.quota.ListFields() if not 0 <= most <= _MOST]
            return f"a quota of {wrong[0]}" if wrong else ""
        case facts_pb2.MembershipSet():
            return _no_id(event.user_id)
        case facts_pb2.JoinTokenCreated() | facts_pb2.NodeJoined():
            return _joining(event_id, event)
        case facts_pb2.RebalanceRequested():
            return _rebalance(event)
        case facts_pb2.PolicyActivated():
            return _policy(event.policy)
        case _:
            return ""


def _rebalance(event: facts_pb2.RebalanceRequested) -> str:
    numbers = (event.budget, event.min_gain - 1, event.at_once - 1)
    bearable = all(0 <= number < _MOST_MOVES for number in numbers)
    return "" if bearable else f"a rebalance of {event.budget} moves"


def _joining(event_id: str, event: facts_pb2.JoinTokenCreated | facts_pb2.NodeJoined) -> str:
    if isinstance(event, facts_pb2.NodeJoined):
        return _no_id(event.node_id) or _no_digest(event.key_digest)
    if _no_id(event_id):
        return _no_id(event_id)
    if not 1 <= event.max_uses <= _MOST_USES:
        return f"a token for {event.max_uses} uses"
    return _no_digest(event.secret_digest) or _deadline(event.expires_at_us)


def _no_digest(digest: bytes) -> str:
    return "" if len(digest) == _DIGEST_BYTES else f"a digest of {len(digest)} bytes"


def _no_id(text: str) -> str:
    try:
        UUID(text)
    except ValueError:
        return f"{text!r} is no UUID"
    return ""


def _unaskable(spec: deployments_pb2.DeploymentSpec) -> str:
    rules = spec.disconnect
    waits = (rules.lost_after_ms, rules.stop_on_client_after_ms)
    wrong = [wait for wait in waits if not 0 <= wait <= _MOST]
    bad_wait = f"a wait of {wrong[0]} ms" if wrong else ""
    return _unbearable(spec.resources) or _many(spec.replicas) or bad_wait


def _many(replicas: int) -> str:
    return "" if 0 <= replicas <= _MOST_REPLICAS else f"{replicas} replicas"


def _deadline(instant_us: int) -> str:
    return "" if 0 <= instant_us <= _LAST_INSTANT_US else f"a deadline of {instant_us}"


def _unbearable(resources: resources_pb2.Resources) -> str:
    wrong = [amount for amount in amounts(resources) if not 0 <= amount <= _MOST]
    return f"an amount of {wrong[0]}" if wrong else ""


def _fingerprint(fingerprint: nodes_pb2.Fingerprint) -> str:
    return _unbearable(fingerprint.capacity) or _unbearable(fingerprint.allocatable)


def _policy(policy: policies_pb2.Policy) -> str:
    strategies = [policy.strategy, *(kind.strategy for kind in policy.classes)]
    if unknown := [name for name in strategies if name not in _STRATEGIES]:
        return f"a strategy {unknown[0]!r}"
    if not 1 <= len(policy.name) <= _LONGEST_NAME or not policy.name.isprintable():
        return f"a name {policy.name[:_LONGEST_NAME]!r}"
    for weight in _shares(policy):
        if not (isfinite(weight) and 0 <= weight <= 1):
            return f"a weight of {weight}"
    for value, most in _numbers(policy):
        if not 0 <= value <= most:
            return f"a value of {value}"
    if (retries := len(policy.retry_backoff_ms)) > _MOST_RETRIES:
        return f"{retries} retries"
    if (classes := len(policy.classes)) > _MOST_CLASSES:
        return f"{classes} classes"
    regions = {near.region for near in policy.adjacency}
    wanted = {latency.wanted for latency in policy.latencies}
    if max(len(regions), len(wanted)) > _MOST_REGIONS:
        return f"{max(len(regions), len(wanted))} regions"
    power = policy.power
    rising = power.sleep_watts <= power.idle_watts <= power.full_watts
    return "" if rising else "a node that draws less when it does more"


def _shares(policy: policies_pb2.Policy) -> list[float]:
    aims = policy.objectives
    return [
        policy.resource_weight,
        policy.cpu_load_weight,
        policy.memory_load_weight,
        policy.locality_weight,
        *(aims.utilisation, aims.balance, aims.latency, aims.affinity, aims.energy),
    ]


def _numbers(policy: policies_pb2.Policy) -> list[tuple[int, int]]:
    """Return whole numbers of a policy, each with the highest that it may be."""
    weights, power = policy.weights, policy.power
    return [
        *((wait, _MOST) for wait in policy.retry_backoff_ms),
        (policy.heartbeat_period_ms, _MOST),
        (policy.silent_periods, _MOST),
        (policy.lost_after_ms, _MOST),
        (policy.reschedule_delay_ms, _MOST),
        (policy.reschedule_delay_max_ms, _MOST),
        (policy.busy_load_percent, 100),
        (policy.latency_half_ms, _MOST),
        *((kind.gpu_from_thousandths, _MOST) for kind in policy.classes),
        *((kind.priority_from, 100) for kind in policy.classes),
        *((each, _MOST_WEIGHT) for each in (weights.cpu, weights.memory)),
        *((each, _MOST_WEIGHT) for each in (weights.storage, weights.gpu)),
        *((amount, _MOST) for amount in amounts(policy.reference)),
        *((each, _MOST_WATTS) for each in (power.sleep_watts, power.idle_watts)),
        (power.full_watts, _MOST_WATTS),
        (len(policy.gpu_mix), _MOST_MIXED),
        *((ask.cpu_millicores, _MOST) for ask in policy.gpu_mix),
        *((ask.gpu_thousandths, _MOST_GPU) for ask in policy.gpu_mix),
        *((ask.weight, _MOST_WEIGHT) for ask in policy.gpu_mix),
        *((latency.round_trip_ms, _MOST) for latency in policy.latencies),
        *((value, _MOST) for _field, value in policy.disruption.ListFields()),
        (policy.disruption.failure_penalty, 100),
    ]
