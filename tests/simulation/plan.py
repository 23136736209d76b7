"""What a seed stands for: a fleet, a load, faults. Drawn unevenly: equal actors hide mistakes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from fogbank.domain.policy import Policy
from fogbank.domain.rebalancing import RebalanceTerms
from tests.simulation.sharing import Room, Sharing, sharing_of

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
    "cut_off",
    "cordon",
    "drain",
    "remove",
    "restart",
    "handover",
    "canary",
    "flip",
]
Profile = Literal["usual", "brief", "changes", "shared", "canary", "flipped"]
PROFILES: tuple[Profile, ...] = ("usual", "brief", "changes", "shared", "canary", "flipped")

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

# What operators do; drawn apart, in some runs only.
_OPERATIONS: tuple[Kind, ...] = ("cordon", "drain", "remove")

# Those who begin anew, with a snapshot if they can, and agents that change their gateway while it
# is slow; drawn apart, in some runs only.
_TURNS: tuple[Kind, ...] = ("restart", "handover")


@dataclass(frozen=True, slots=True)
class Node:
    """A machine to be."""

    name: str
    cpu_millicores: int
    memory_mib: int
    region: str
    gpu_thousandths: int = 0
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
    """All that a seed decides beforehand; the workload draws from the seed as it goes.

    `updates` is the share of a caller's steps that change what runs; `scarce` fleets have hardly
    room for what is asked of them, unless a machine with much of it joins (`relieved`). `bursts` is
    the share of a caller's steps that ask for several things at once.
    """

    seed: int
    profile: Profile
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
    updates: float = 0.0
    scarce: bool = False
    relieved: bool = False
    bursts: float = 0.0
    digest_every_rounds: int = 1_000
    sharing: Sharing | None = None


@dataclass(frozen=True, slots=True)
class _Scale:
    """How large the runs of a profile are; times in seconds."""

    lasts_s: tuple[float, ...]
    gateways: tuple[int, ...]
    schedulers: tuple[int, ...]
    ledgers: tuple[int, ...]
    nodes: tuple[int, ...]
    clients: tuple[int, ...]
    pauses_s: tuple[float, ...]
    faults: tuple[int, ...]
    spans_s: tuple[float, ...]
    digests: tuple[int, ...] = (2, 3, 5, 12, 50)


# Values that come more often are there more often.
_USUAL = _Scale(
    lasts_s=(40.0, 90.0, 90.0, 180.0),
    gateways=(1, 1, 2, 2, 2, 2, 2, 3, 3),
    schedulers=(2, 2, 2, 2, 2, 3, 3, 3, 4),
    ledgers=(1, 1, 2),
    nodes=(1, 2, 2, 2, 3, 3, 3, 3, 5, 5, 5, 8),
    clients=(1, 2, 3),
    pauses_s=(0.3, 1.5, 1.5, 5.0),
    faults=(2, 5, 10, 20),
    spans_s=(0.3, 3.0, 12.0, 45.0),
    digests=(8, 20, 50, 200),
)
_BRIEF = _Scale(
    lasts_s=(1.0, 2.0, 4.0, 4.0),
    gateways=(1, 2, 2),
    schedulers=(1, 2, 2, 2),
    ledgers=(1, 1, 1, 2),
    nodes=(1, 2, 2, 3),
    clients=(1, 1, 2),
    pauses_s=(0.06, 0.12, 0.4),
    faults=(1, 2, 4, 7),
    spans_s=(0.2, 1.0, 4.0),
)
# Long enough for rollouts to get somewhere, and with fewer faults in their way.
_CHANGES = _Scale(
    lasts_s=(12.0, 20.0, 30.0),
    gateways=(1, 2, 2),
    schedulers=(1, 2, 2),
    ledgers=(1, 1, 2),
    nodes=(2, 3, 3, 4),
    clients=(1, 1, 2),
    pauses_s=(0.5, 1.0, 2.0),
    faults=(1, 2, 4),
    spans_s=(0.5, 3.0, 8.0),
)
# Several callers who are in each other's way, and nodes that are cut off for long enough.
_SHARED = replace(
    _CHANGES,
    lasts_s=(15.0, 30.0, 45.0),
    clients=(2, 3),
    pauses_s=(0.5, 1.0, 2.0),
    faults=(1, 3, 5),
    spans_s=(1.0, 8.0),
)
# How many runs of a profile have several clusters, with quotas.
_SHARES: dict[Profile, float] = {"usual": 0.3, "brief": 0.15, "changes": 0.25, "shared": 1.0}
_SCALES: dict[Profile, _Scale] = {
    "usual": _USUAL,
    "brief": _BRIEF,
    "changes": _CHANGES,
    "shared": _SHARED,
    "canary": _BRIEF,
    "flipped": _BRIEF,
}


def plan_of(seed: int, profile: Profile = "usual") -> Plan:
    """Return what a seed stands for in a profile.

    `canary` runs lose commits that were acknowledged, in `flipped` runs a bit of what one process
    has folded becomes another: they show that it would be noticed. In
    `changes` runs callers mostly change what runs, on fleets that are often nearly full; in
    `shared` runs they have clusters with quotas.
    """
    random = Random(f"{seed}/{profile}/plan")
    scale = _SCALES[profile]
    lasts_s = random.choice(scale.lasts_s)
    nodes = random.choice(scale.nodes)
    faults = _faults(random, scale, lasts_s, _KINDS, 0)
    apart = Random(f"{seed}/{profile}/operations")
    if apart.random() < 0.4:
        more = _faults(apart, scale, lasts_s, _OPERATIONS, apart.choice((1, 1, 2, 4)))
        faults = tuple(sorted((*faults, *more), key=_at))
    turns = Random(f"{seed}/{profile}/turns")
    if turns.random() < 0.4:
        more = _faults(turns, scale, lasts_s, _TURNS, turns.choice((1, 2, 3, 5)))
        faults = tuple(sorted((*faults, *more), key=_at))
    if profile == "canary":
        faults = (*faults, Fault(lasts_s, "canary", 0.5, random.getrandbits(32)))
    if profile == "flipped":
        flip = Fault(lasts_s / 3, "flip", 0.0, turns.getrandbits(32))
        faults = tuple(sorted((*faults, flip), key=_at))
    later = Random(f"{seed}/{profile}/rollouts")
    much = profile == "changes"
    scarce = later.random() < (0.4 if much else 0.3)
    updates = later.choice((0.4, 0.6) if much else (0.0, 0.0, 0.15, 0.4))
    plan = Plan(
        seed,
        profile,
        gateways=random.choice(scale.gateways),
        schedulers=random.choice(scale.schedulers),
        ledgers=random.choice(scale.ledgers),
        nodes=tuple(
            _cramped(node, later) if scarce else node
            for node in (_node(random, apart, number, lasts_s) for number in range(nodes))
        ),
        clients=random.choice(scale.clients),
        pause_s=random.choice(scale.pauses_s),
        window_s=random.choice((0.0, 5.0, 120.0)),
        lasts_s=lasts_s,
        faults=faults,
        clock_offsets_ms=tuple(random.randint(-900, 900) for _ in range(24)),
        policy=_policy(random, profile),
        updates=updates,
        scarce=scarce,
        digest_every_rounds=Random(f"{seed}/{profile}/digests").choice(scale.digests),
    )
    return _shared(_crowded(plan))


def _crowded(plan: Plan) -> Plan:
    """Draw what a fleet that is nearly full meets besides; it moves nothing where there is room."""
    if not plan.scarce:
        return plan
    random = Random(f"{plan.seed}/{plan.profile}/crowded")
    plan = replace(plan, bursts=random.choice((0.0, 0.0, 0.3, 0.6)))
    if random.random() >= 0.3:
        return plan
    number = len(plan.nodes)
    joins_s = random.uniform(plan.lasts_s / 4, plan.lasts_s * 2 / 3)
    large = Node(f"fog-{number}", 8000, 16_384, "us-east", joins_s=joins_s)
    return replace(plan, nodes=(*plan.nodes, large), relieved=True)


def _shared(plan: Plan) -> Plan:
    """Draw whether several tenants share the fleet, and how; it moves nothing else."""
    random = Random(f"{plan.seed}/{plan.profile}/sharing")
    if random.random() >= _SHARES.get(plan.profile, 0.0):
        return plan
    cpu = sum(node.cpu_millicores for node in plan.nodes)
    memory = sum(node.memory_mib for node in plan.nodes)
    sharing = sharing_of(random, Room(cpu, memory), plan.lasts_s)
    policy = replace(plan.policy, preemption_across_clusters=random.random() < 0.5)
    faults = plan.faults
    if sharing.guarded and random.random() < 0.6:
        cut = Fault(
            random.uniform(1.0, plan.lasts_s / 3),
            "cut_off",
            random.uniform(14.0, 25.0),
            random.getrandbits(32),
        )
        faults = tuple(sorted((*faults, cut), key=_at))
    if random.random() < 0.5:
        sharing = replace(sharing, last=RebalanceTerms(100, 1, random.choice((1, 1, 3))))
    return replace(plan, sharing=sharing, policy=policy, faults=faults)


def _cramped(node: Node, later: Random) -> Node:
    """Return a machine that one or two replicas fill."""
    return replace(node, cpu_millicores=later.choice((1000, 1000, 1600)), memory_mib=2048)


def _node(random: Random, apart: Random, number: int, lasts_s: float) -> Node:
    size = random.choice((1, 1, 2, 4))
    late = random.random() < 0.25 and number > 0
    return Node(
        f"fog-{number}",
        size * 1000 + random.choice((0, 0, 500)),
        size * 2048,
        random.choice(("us-east", "us-central", "us-west")),
        apart.choice((0, 0, 0, 1000, 2000)),
        random.uniform(lasts_s / 10, lasts_s / 2) if late else random.uniform(0, lasts_s / 20),
    )


def _policy(random: Random, profile: Profile) -> Policy:
    if profile == "usual":
        return Policy(
            lost_after_ms=random.choice((16_000, 20_000, 30_000)),
            heartbeat_period_ms=random.choice((2_000, 5_000)),
            reschedule_delay_ms=random.choice((2_000, 10_000)),
            reschedule_delay_max_ms=20_000,
            retry_backoff_ms=random.choice(((1_000, 2_000, 4_000), (500, 1_000), (3_000,) * 4)),
        )
    return Policy(
        lost_after_ms=random.choice((3_500, 5_000, 9_000)),
        heartbeat_period_ms=random.choice((1_000, 3_000)),
        reschedule_delay_ms=random.choice((500, 2_000)),
        reschedule_delay_max_ms=4_000,
        retry_backoff_ms=random.choice(((300, 600, 1_200), (200, 500), (1_500,) * 4)),
    )


def _faults(
    random: Random, scale: _Scale, lasts_s: float, among: tuple[Kind, ...], number: int
) -> tuple[Fault, ...]:
    """Draw faults: few kinds in each run, some of them many times; 0 leaves the number open."""
    kinds = random.sample(among, min(len(among), random.choice((1, 2, 3, 5))))
    weights = [random.choice((1, 1, 4)) for _ in kinds]
    faults = []
    for _ in range(number or random.choice(scale.faults)):
        kind = random.choices(kinds, weights)[0]
        span = random.choice(scale.spans_s)
        faults.append(
            Fault(
                random.uniform(min(1.0, lasts_s / 10), lasts_s),
                kind,
                random.uniform(span / 3, span),
                random.getrandbits(32),
            )
        )
    return tuple(sorted(faults, key=_at))


def _at(fault: Fault) -> float:
    return fault.at_s
