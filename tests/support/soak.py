"""Disturbances in an order that a seed decides, and a table of what came of them."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.support.chaos import AGENT, Verdict, freeze, kill, thaw
from tests.support.fog_up import FogUp
from tests.support.power_cut import Disk, fail
from tests.support.waiting import eventually_sync

# Longer than a standby waits, and than three heartbeats.
_FROZEN_S = 4.0

Disturbance = Callable[[FogUp], object]


def disturbances(disk: Disk | None) -> dict[str, Disturbance]:
    """Return what can be done to a system with two gateways and two schedulers, by name."""
    gateways, schedulers = ("gateway-1", "gateway-2"), ("scheduler-1", "scheduler-2")
    known: dict[str, Disturbance] = {
        "kill a gateway": lambda system: kill(system, gateways[:1]),
        "kill both gateways": lambda system: kill(system, gateways),
        "kill a scheduler": lambda system: kill(system, schedulers[:1]),
        "kill both schedulers": lambda system: kill(system, schedulers),
        "kill the ledger": lambda system: kill(system, ["ledger-1"]),
        "kill an agent": lambda system: kill(system, [AGENT]),
        "kill the broker": lambda system: kill(system, ["nats"]),
        "kill the database": lambda system: kill(system, ["postgres"]),
        "kill several": lambda system: kill(system, ["nats", "postgres", *gateways[:1], AGENT]),
        "kill everything": _kill_everything,
        "freeze a scheduler": lambda system: _freeze(system, schedulers[0]),
        "freeze an agent": lambda system: _freeze(system, AGENT),
    }
    if disk is not None:
        known["cut the power"] = lambda system: lose_power(system, disk)
    return known


def _kill_everything(system: FogUp) -> None:
    system.kill_all()
    system.start(150)


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
    system.start(150)


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

    outcomes: Mapping[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    resumed_s: Mapping[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    loads: list[Verdict] = field(default_factory=list)

    def add(self, names: Sequence[str], verdict: Verdict | None) -> None:
        """Note the disturbances of a load and its verdict, None for a failed one."""
        for name in names:
            self.outcomes[name]["failed" if verdict is None else "clean"] += 1
        if verdict is not None:
            self.loads.append(verdict)
            for name, seconds in zip(names, verdict.resumed_s, strict=True):
                self.resumed_s[name].append(seconds)

    def table(self) -> str:
        """Return the counts as a table, with a summary below."""
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
        lines.append(f"{len(self.loads)} loads clean")
        if self.loads:
            last = self.loads[-1]
            gap_s = max(verdict.longest_gap_s for verdict in self.loads)
            settled_s = max(verdict.settled_s for verdict in self.loads)
            lines += [
                f"{last.commands} commands acknowledged, all kept exactly once",
                f"{last.position} commits in the log, {last.rounds_void} rounds void",
                f"longest wait for an acknowledgement {gap_s:.1f} s",
                f"longest time to rest after a load {settled_s:.1f} s",
            ]
        return "\n".join(lines)
