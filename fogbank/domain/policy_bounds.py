"""What a policy may say. The fold finds a policy void that says anything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite

from fogbank.domain.disruption import DisruptionRules
from fogbank.domain.policy import STRATEGY_NAMES, AskClass, Policy

MAX_AMOUNT = 1 << 40
MAX_WEIGHT = 1_000_000
MAX_RETRIES = 100
MAX_CLASSES = 32
MAX_MIX = 256
MAX_GPU = 1_000_000
MAX_REGIONS = 1_000
MAX_NAME = 100
MAX_PERCENT = 100
MAX_PRIORITY = 100
MAX_WATTS = 1_000_000
# Among the rules for disruptions; to switch it off the guard may ask for more than all nodes.
_MOST_OF = {"failure_penalty": MAX_PERCENT}


@dataclass(frozen=True, slots=True)
class Problem:
    """A field with a value that is not allowed; both in words."""

    field: str
    allowed: str
    given: str


def problems(policy: Policy) -> list[Problem]:
    """Return what is wrong with a policy, field by field; nothing if all is well."""
    return [
        *_names(policy),
        *_weights(policy),
        *_times(policy),
        *_classes(policy),
        *_tables(policy),
    ]


def _names(policy: Policy) -> Iterator[Problem]:
    if not 1 <= len(policy.name) <= MAX_NAME or not policy.name.isprintable():
        yield Problem("name", f"1 to {MAX_NAME} printable characters", repr(policy.name)[:200])
    yield from _strategy("strategy", policy.strategy)


def _strategy(field: str, name: str) -> Iterator[Problem]:
    if name not in STRATEGY_NAMES:
        yield Problem(field, f"one of {list(STRATEGY_NAMES)}", repr(name)[:200])


def _weights(policy: Policy) -> Iterator[Problem]:
    shares = {
        "resource_weight": policy.resource_weight,
        "cpu_load_weight": policy.cpu_load_weight,
        "memory_load_weight": policy.memory_load_weight,
        "locality_weight": policy.locality_weight,
        **{
            f"objectives.{name}": getattr(policy.objectives, name)
            for name in ("utilisation", "balance", "latency", "affinity", "energy")
        },
    }
    for name, weight in shares.items():
        if not (isfinite(weight) and 0 <= weight <= 1):
            yield Problem(name, "a number from 0 to 1", str(weight))
    for name in ("cpu", "memory", "storage", "gpu"):
        yield from _between(f"weights.{name}", getattr(policy.weights, name), 0, MAX_WEIGHT)


def _times(policy: Policy) -> Iterator[Problem]:
    for name in (
        "heartbeat_period_ms",
        "silent_periods",
        "lost_after_ms",
        "reschedule_delay_ms",
        "reschedule_delay_max_ms",
    ):
        yield from _between(name, getattr(policy, name), 0, MAX_AMOUNT)
    for name in DisruptionRules.__slots__:
        most = _MOST_OF.get(name, MAX_AMOUNT)
        yield from _between(f"disruption.{name}", getattr(policy.disruption, name), 0, most)
    for index, wait_ms in enumerate(policy.retry_backoff_ms):
        yield from _between(f"retry_backoff_ms[{index}]", wait_ms, 0, MAX_AMOUNT)
    if len(policy.retry_backoff_ms) > MAX_RETRIES:
        retries = len(policy.retry_backoff_ms)
        yield Problem("retry_backoff_ms", f"at most {MAX_RETRIES} retries", str(retries))
    yield from _between("busy_load_percent", policy.busy_load_percent, 0, MAX_PERCENT)
    yield from _between("latency_half_ms", policy.latency_half_ms, 1, MAX_AMOUNT)


def _classes(policy: Policy) -> Iterator[Problem]:
    if len(policy.classes) > MAX_CLASSES:
        yield Problem("classes", f"at most {MAX_CLASSES}", str(len(policy.classes)))
    for index, kind in enumerate(policy.classes[:MAX_CLASSES]):
        yield from _class(f"classes[{index}]", kind)


def _class(field: str, kind: AskClass) -> Iterator[Problem]:
    yield from _strategy(f"{field}.strategy", kind.strategy)
    yield from _between(f"{field}.gpu_from_thousandths", kind.gpu_from_thousandths, 0, MAX_AMOUNT)
    yield from _between(f"{field}.priority_from", kind.priority_from, 0, MAX_PRIORITY)


def _tables(policy: Policy) -> Iterator[Problem]:
    if len(policy.gpu_mix) > MAX_MIX:
        yield Problem("gpu_mix", f"at most {MAX_MIX} kinds of asks", str(len(policy.gpu_mix)))
    for index, ask in enumerate(policy.gpu_mix[:MAX_MIX]):
        field = f"gpu_mix[{index}]"
        yield from _between(f"{field}.cpu_millicores", ask.cpu_millicores, 0, MAX_AMOUNT)
        yield from _between(f"{field}.gpu_thousandths", ask.gpu_thousandths, 0, MAX_GPU)
        yield from _between(f"{field}.weight", ask.weight, 0, MAX_WEIGHT)
    for name in ("cpu_millicores", "memory_mib", "storage_gib", "gpu_thousandths"):
        yield from _between(f"reference.{name}", getattr(policy.reference, name), 0, MAX_AMOUNT)
    for name in ("sleep_watts", "idle_watts", "full_watts"):
        yield from _between(f"power.{name}", getattr(policy.power, name), 0, MAX_WATTS)
    if not policy.power.sleep_watts <= policy.power.idle_watts <= policy.power.full_watts:
        power = policy.power
        yield Problem(
            "power",
            "sleep_watts <= idle_watts <= full_watts",
            f"{power.sleep_watts}, {power.idle_watts}, {power.full_watts}",
        )
    if max(len(policy.adjacency), len(policy.latency_ms)) > MAX_REGIONS:
        given = f"{len(policy.adjacency)} and {len(policy.latency_ms)}"
        yield Problem("adjacency, latencies", f"at most {MAX_REGIONS} regions", given)
    for wanted, others in policy.latency_ms.items():
        for other, round_trip_ms in others.items():
            field = f"latencies[{wanted}, {other}].round_trip_ms"
            yield from _between(field, round_trip_ms, 0, MAX_AMOUNT)


def _between(field: str, value: int, low: int, high: int) -> Iterator[Problem]:
    if not low <= value <= high:
        yield Problem(field, f"{low} to {high}", str(value))
