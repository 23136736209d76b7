"""Disturbances in an order that a seed decides, and tables of what came of them."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.support.chaos import AGENT, Verdict, freeze, kill, thaw
from tests.support.crash_points import (
    AT_FIRST_START,
    AT_START,
    VICTIMS,
    CrashPlan,
    pids_of,
    points_of,
)
from tests.support.fog_up import FogUp
from tests.support.power_cut import Disk, fail
from tests.support.waiting import eventually_sync

# Longer than a standby waits, and than three heartbeats.
_FROZEN_S = 4.0
# So often somebody dies at a point for each time that something else is done.
_DEATHS_PER_DISTURBANCE = 4
# A point that the load doesn't come to in this time is let go.
_POINT_S = 30.0
_MOST_PASSES = 5

_GATEWAYS, _SCHEDULERS = ("gateway-1", "gateway-2"), ("scheduler-1", "scheduler-2")
_SERVICES = (*_GATEWAYS, *_SCHEDULERS, "ledger-1")
# What a process is called in the table.
_PARTS = {
    "gateway": "gateways",
    "scheduler": "schedulers",
    "ledger": "ledger",
    "agent": "agents",
    "nats": "NATS",
    "postgres": "PostgreSQL",
}


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something done to a system, and the children that it befalls; 'all' stands for each."""

    act: Callable[[FogUp], object]
    hits: tuple[str, ...]


def _killing(*children: str) -> Disturbance:
    return Disturbance(lambda system: kill(system, children), children)


def disturbances(disk: Disk | None, deaths: Deaths) -> dict[str, Disturbance]:
    """Return what can be done to a system with two gateways and two schedulers, by name."""
    known = {
        "kill a gateway": _killing(_GATEWAYS[0]),
        "kill both gateways": _killing(*_GATEWAYS),
        "kill a scheduler": _killing(_SCHEDULERS[0]),
        "kill both schedulers": _killing(*_SCHEDULERS),
        "kill the ledger": _killing("ledger-1"),
        "kill an agent": _killing(AGENT),
        "kill the broker": _killing("nats"),
        "kill the database": _killing("postgres"),
        "kill several": _killing("nats", "postgres", _GATEWAYS[0], AGENT),
        "kill everything": Disturbance(_kill_everything, ("all",)),
        "freeze a scheduler": Disturbance(
            lambda system: _freeze(system, _SCHEDULERS[0]), _SCHEDULERS[:1]
        ),
        "freeze an agent": Disturbance(lambda system: _freeze(system, AGENT), (AGENT,)),
    }
    if disk is not None:
        known["cut the power"] = Disturbance(lambda system: lose_power(system, disk), ("all",))
    for victim in VICTIMS:
        known[f"{victim} dies at a point"] = deaths.disturbance(victim)
    return known


def drawn_from(known: Mapping[str, Disturbance]) -> list[str]:
    """Return the names to draw from: deaths at points stand there more than once."""
    return [
        name
        for name in known
        for _ in range(_DEATHS_PER_DISTURBANCE if name.endswith("at a point") else 1)
    ]


def _kill_everything(system: FogUp) -> None:
    system.kill_all()
    system.start()


def _freeze(system: FogUp, child: str) -> None:
    freeze(system, child)
    until_s = time.monotonic() + _FROZEN_S
    try:
        eventually_sync(lambda: time.monotonic() >= until_s, 60, what="the end of a pause")
    finally:
        thaw(system, child)


def lose_power(system: FogUp, disk: Disk) -> None:
    """Cut the power of the whole system and start it again on what is left."""
    fail(disk, system.process.pid)
    system.kill_supervisor()
    disk.back()
    system.start()


class Deaths:
    """Has processes die at points that a seed draws, each as often as any other of its kind."""

    def __init__(self, plan: CrashPlan, seed: int) -> None:
        self.died_at: Counter[str] = Counter()
        self.not_reached: Counter[str] = Counter()
        self._plan = plan
        self._random = random.Random(seed)
        self._bags = {
            victim: Bag([point for point in points_of(*parts) if point not in AT_FIRST_START], seed)
            for victim, parts in VICTIMS.items()
        }

    def disturbance(self, victim: str) -> Disturbance:
        """Return the death of a process of one kind, another one each time."""
        return Disturbance(lambda system: self._die(system, victim), (victim,))

    def _die(self, system: FogUp, victim: str) -> None:
        (point,) = self._bags[victim].draw(1)
        passes = 1 if point in AT_START else self._random.randint(1, _MOST_PASSES)
        before = pids_of(system, victim)
        self._plan.arm(victim, point, passes)
        if point in AT_START:
            system.kill_child(self._random.choice(sorted(before)))
        until_s = time.monotonic() + _POINT_S
        eventually_sync(
            lambda: not self._plan.armed(victim, point) or time.monotonic() > until_s,
            what="the end of the wait for a death",
        )
        if self._plan.disarm(victim, point):
            self.not_reached[point] += 1
            return
        self.died_at[point] += 1
        eventually_sync(
            lambda: pids_of(system, victim) != before, 120, what=f"a successor of the {victim}"
        )


class Bag:
    """Draws names in random order, each as often as any other."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self._names = list(names)
        self._random = random.Random(seed)
        self._left: list[str] = []

    def draw(self, count: int) -> list[str]:
        """Return the next names."""
        drawn = []
        for _ in range(count):
            if not self._left:
                self._left = self._random.sample(self._names, len(self._names))
            drawn.append(self._left.pop())
        return drawn


@dataclass
class Tally:
    """What was done, and what came of it."""

    known: Mapping[str, Disturbance]
    deaths: Deaths
    outcomes: Mapping[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    resumed_s: Mapping[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    spells: list[Verdict] = field(default_factory=list)

    def add(self, names: Sequence[str], verdict: Verdict | None) -> None:
        """Note the disturbances of a spell and its verdict, None for a failed one."""
        for name in names:
            self.outcomes[name]["failed" if verdict is None else "clean"] += 1
        if verdict is not None:
            self.spells.append(verdict)
            for name, seconds in zip(names, verdict.resumed_s, strict=True):
                self.resumed_s[name].append(seconds)

    def table(self) -> str:
        """Return the counts as tables, with a summary below."""
        wide = max((len(name) for name in self.outcomes), default=0)
        lines = [
            f"{'':{wide}}                        acknowledged again after",
            f"{'disturbance':{wide}}  times  clean  failed  median s    most s",
        ]
        for name, counts in sorted(self.outcomes.items()):
            clean, failed = counts["clean"], counts["failed"]
            again = self.resumed_s[name]
            figures = f"{median(again):8.1f}  {max(again):8.1f}" if again else ""
            lines.append(f"{name:{wide}}  {clean + failed:5}  {clean:5}  {failed:6}  {figures}")
        lines += ["", f"{'faults of':{wide}}  times"]
        lines += [f"{part:{wide}}  {times:5}" for part, times in self._by_part().items()]
        died_at, not_reached = self.deaths.died_at, self.deaths.not_reached
        faults = sum(counts.total() for counts in self.outcomes.values()) - not_reached.total()
        lines += [
            "",
            f"{faults} faults in all, {len(self.spells)} spells clean",
            f"{died_at.total()} deaths at {len(died_at)} named points",
            f"{not_reached.total()} points not come to in time",
        ]
        if self.spells:
            last = self.spells[-1]
            gap_s = max(verdict.longest_gap_s for verdict in self.spells)
            settled_s = max(verdict.settled_s for verdict in self.spells)
            lines += [
                f"{last.commands} commands acknowledged, all kept exactly once",
                f"{last.position} commits in the log, {last.rounds_void} rounds void",
                f"longest wait for an acknowledgement {gap_s:.1f} s",
                f"longest time to rest after a spell {settled_s:.1f} s",
            ]
        return "\n".join(lines)

    def _by_part(self) -> dict[str, int]:
        """Return how often a process of each part was killed, frozen, or lost its power."""
        found: Counter[str] = Counter()
        for name, counts in self.outcomes.items():
            for child in self.known[name].hits:
                everybody = (*_SERVICES, "agent", "nats", "postgres")
                for each in everybody if child == "all" else (child,):
                    found[_PARTS[each.partition("-")[0]]] += counts.total()
        return {part: found[part] for part in _PARTS.values()}
