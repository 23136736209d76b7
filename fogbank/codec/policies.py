"""Policies to messages and back."""

from __future__ import annotations

from fogbank.codec.disruption import disruption_from_pb, disruption_to_pb
from fogbank.codec.values import resources_from_pb, resources_to_pb
from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.policy import (
    AskClass,
    MixedAsk,
    ObjectiveWeights,
    Policy,
    PowerModel,
    ResourceWeights,
    Ties,
)
from fogbank.v1 import policies_pb2 as pb

_TIES = {Ties.ORDER: pb.TIE_RULE_ORDER, Ties.HASH: pb.TIE_RULE_HASH}
_TIES_BY_NUMBER = {number: ties for ties, number in _TIES.items()}


def policy_to_pb(policy: Policy) -> pb.Policy:
    """Return the message of a policy."""
    return pb.Policy(
        name=policy.name,
        version=policy.version,
        strategy=policy.strategy,
        resource_weight=policy.resource_weight,
        cpu_load_weight=policy.cpu_load_weight,
        memory_load_weight=policy.memory_load_weight,
        locality_weight=policy.locality_weight,
        adjacency=[
            pb.Adjacency(region=region, adjacent=near)
            for region, near in sorted(policy.adjacency.items())
        ],
        retry_backoff_ms=policy.retry_backoff_ms,
        heartbeat_period_ms=policy.heartbeat_period_ms,
        silent_periods=policy.silent_periods,
        lost_after_ms=policy.lost_after_ms,
        busy_load_percent=policy.busy_load_percent,
        reschedule_delay_ms=policy.reschedule_delay_ms,
        reschedule_delay_max_ms=policy.reschedule_delay_max_ms,
        preemption_min_priority=policy.preemption_min_priority,
        preemption_min_gap=policy.preemption_min_gap,
        preemption_across_clusters=policy.preemption_across_clusters,
        classes=[_class_to_pb(kind) for kind in policy.classes],
        ties=_TIES[policy.ties],
        weights=pb.ResourceWeights(
            cpu=policy.weights.cpu,
            memory=policy.weights.memory,
            storage=policy.weights.storage,
            gpu=policy.weights.gpu,
        ),
        reference=resources_to_pb(policy.reference),
        latencies=[
            pb.RegionLatency(wanted=wanted, other=other, round_trip_ms=round_trip_ms)
            for wanted, others in sorted(policy.latency_ms.items())
            for other, round_trip_ms in sorted(others.items())
        ],
        latency_half_ms=policy.latency_half_ms,
        objectives=_objectives_to_pb(policy.objectives),
        gpu_mix=[
            pb.MixedAsk(
                cpu_millicores=ask.cpu_millicores,
                gpu_thousandths=ask.gpu_thousandths,
                weight=ask.weight,
            )
            for ask in policy.gpu_mix
        ],
        power=pb.PowerModel(
            sleep_watts=policy.power.sleep_watts,
            idle_watts=policy.power.idle_watts,
            full_watts=policy.power.full_watts,
        ),
        disruption=disruption_to_pb(policy.disruption),
    )


def policy_from_pb(message: pb.Policy) -> Policy:
    """Return the policy that a message holds, with defaults for parts that it leaves out."""
    default = Policy()
    return Policy(
        name=message.name,
        version=message.version,
        strategy=message.strategy,
        resource_weight=message.resource_weight,
        cpu_load_weight=message.cpu_load_weight,
        memory_load_weight=message.memory_load_weight,
        locality_weight=message.locality_weight,
        adjacency={near.region: tuple(near.adjacent) for near in message.adjacency},
        retry_backoff_ms=tuple(message.retry_backoff_ms),
        heartbeat_period_ms=message.heartbeat_period_ms,
        silent_periods=message.silent_periods,
        lost_after_ms=message.lost_after_ms,
        busy_load_percent=message.busy_load_percent,
        reschedule_delay_ms=message.reschedule_delay_ms,
        reschedule_delay_max_ms=message.reschedule_delay_max_ms,
        preemption_min_priority=message.preemption_min_priority,
        preemption_min_gap=message.preemption_min_gap,
        preemption_across_clusters=message.preemption_across_clusters,
        classes=tuple(_class_from_pb(kind) for kind in message.classes),
        ties=_TIES_BY_NUMBER.get(message.ties, default.ties),
        weights=_weights_from_pb(message) or default.weights,
        reference=(
            resources_from_pb(message.reference)
            if message.HasField("reference")
            else default.reference
        ),
        latency_ms=_latency_from_pb(message),
        latency_half_ms=message.latency_half_ms or default.latency_half_ms,
        objectives=_objectives_from_pb(message) or default.objectives,
        power=_power_from_pb(message) or default.power,
        gpu_mix=tuple(
            MixedAsk(ask.cpu_millicores, ask.gpu_thousandths, ask.weight) for ask in message.gpu_mix
        ),
        disruption=(
            disruption_from_pb(message.disruption)
            if message.HasField("disruption")
            else DisruptionRules()
        ),
    )


def _class_to_pb(kind: AskClass) -> pb.AskClass:
    return pb.AskClass(
        name=kind.name,
        strategy=kind.strategy,
        gpu_from_thousandths=kind.gpu_from_thousandths,
        priority_from=kind.priority_from,
    )


def _class_from_pb(message: pb.AskClass) -> AskClass:
    return AskClass(
        message.name, message.strategy, message.gpu_from_thousandths, message.priority_from
    )


def _weights_from_pb(message: pb.Policy) -> ResourceWeights | None:
    if not message.HasField("weights"):
        return None
    weights = message.weights
    return ResourceWeights(weights.cpu, weights.memory, weights.storage, weights.gpu)


def _latency_from_pb(message: pb.Policy) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for latency in message.latencies:
        found.setdefault(latency.wanted, {})[latency.other] = latency.round_trip_ms
    return found


def _objectives_to_pb(weights: ObjectiveWeights) -> pb.ObjectiveWeights:
    return pb.ObjectiveWeights(
        utilisation=weights.utilisation,
        balance=weights.balance,
        latency=weights.latency,
        affinity=weights.affinity,
        energy=weights.energy,
    )


def _objectives_from_pb(message: pb.Policy) -> ObjectiveWeights | None:
    if not message.HasField("objectives"):
        return None
    weights = message.objectives
    return ObjectiveWeights(
        weights.utilisation, weights.balance, weights.latency, weights.affinity, weights.energy
    )


def _power_from_pb(message: pb.Policy) -> PowerModel | None:
    if not message.HasField("power"):
        return None
    return PowerModel(message.power.sleep_watts, message.power.idle_watts, message.power.full_watts)
