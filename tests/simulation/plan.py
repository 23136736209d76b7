"""What a seed stands for: a fleet, a load, faults. Drawn unevenly: equal actors hide mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Literal

from fogbank.domain.policy import Policy

Kind = Literal[
    "kill",
    "freeze",
    "clock",
    "cut",
    "broker",
    "noise",
    "shrink",
    "vanish",
    "join",
    "load",
    "policy",
    "database",
    "disk",
    "isolate",
    "hang_up",
]

_KINDS: tuple[Kind, ...] = (
    "kill",
    "freeze",
    "clock",
    "cut",
    "broker",
    "noise",
    "shrink",
    "vanish",
    "join",
    "load",
    "policy",
    "database",
    "disk",
    "isolate",
    "hang_up",
)


@dataclass(frozen=True, slots=True)
class Node:
    """A machine to be."""

    name: str
    cpu_millicores: int
    memory_mib: int
    region: str
    joins_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong: when, what, how long, and a number to choose the victim by."""

    at_s: float
    kind: Kind
    lasts_s: float
    pick: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a seed decides beforehand; the workload draws from the seed as it goes."""

    seed: int
    gateways: int
    schedulers: int
    ledgers: int
    nodes: tuple[Node, ...]
    clients: int
    pause_s: float
    window_s: float
    lasts_s: float
    faults: tuple[Fault, ...]
    clock_offsets_ms: tuple[int, ...]
    policy: Policy = field(default_factory=Policy)


def plan_of(seed: int) -> Plan:
    """Return what a seed stands for."""
    random = Random(f"{seed}/plan")
    lasts_s = random.choice((40.0, 90.0, 90.0, 180.0))
    return Plan(
        seed,
        gateways=random.choices((1, 2, 3), (2, 5, 2))[0],
        schedulers=random.choices((2, 3, 4), (5, 3, 1))[0],
        ledgers=random.choices((1, 2), (2, 1))[0],
        nodes=tuple(_node(random, number, lasts_s) for number in range(_fleet_size(random))),
        clients=random.choice((1, 2, 3)),
        pause_s=random.choice((0.3, 1.5, 1.5, 5.0)),
        window_s=random.choice((0.0, 5.0, 120.0)),
        lasts_s=lasts_s,
        faults=_faults(random, lasts_s),
        clock_offsets_ms=tuple(random.randint(-900, 900) for _ in range(24)),
        policy=_policy(random),
    )


def _fleet_size(random: Random) -> int:
    return random.choices((1, 2, 3, 5, 8), (1, 3, 4, 3, 1))[0]


def _node(random: Random, number: int, lasts_s: float) -> Node:
    size = random.choice((1, 1, 2, 4))
    late = random.random() < 0.25 and number > 0
    return Node(
        f"fog-{number}",
        size * 1000 + random.choice((0, 0, 500)),
        size * 2048,
        random.choice(("us-east", "us-central", "us-west")),
        random.uniform(5, lasts_s / 2) if late else random.uniform(0, 2),
    )


def _policy(random: Random) -> Policy:
    return Policy(
        lost_after_ms=random.choice((16_000, 20_000, 30_000)),
        heartbeat_period_ms=random.choice((2_000, 5_000)),
        reschedule_delay_ms=random.choice((2_000, 10_000)),
        reschedule_delay_max_ms=20_000,
        retry_backoff_ms=random.choice(((1_000, 2_000, 4_000), (500, 1_000), (3_000,) * 4)),
    )


def _faults(random: Random, lasts_s: float) -> tuple[Fault, ...]:
    """Draw faults: few kinds in each run, some of them many times."""
    kinds = random.sample(_KINDS, random.choice((1, 2, 3, 5)))
    weights = [random.choice((1, 1, 4)) for _ in kinds]
    number = random.choice((2, 5, 10, 20))
    faults = []
    for _ in range(number):
        kind = random.choices(kinds, weights)[0]
        span = random.choice((0.3, 3.0, 12.0, 45.0))
        faults.append(
            Fault(
                random.uniform(1.0, lasts_s),
                kind,
                random.uniform(span / 3, span),
                random.getrandbits(32),
            )
        )
    return tuple(sorted(faults, key=lambda fault: fault.at_s))
