"""What all actors of a simulated cluster share: time, chance, a trace, links that fail."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any

from tests.simulation.loop import Process, VirtualLoop

EPOCH_US = 1_800_000_000_000_000
_MICROS = 1_000_000


class ProcessDeadError(Exception):
    """Code of a process that was killed reached for the outside; it gets nothing."""


@dataclass(slots=True)
class Noise:
    """How likely each thing goes wrong right now, 0 to 1, and how slow the links are.

    What `late_writers` append mostly comes late.
    """

    append_lost: float = 0.0
    ack_lost: float = 0.0
    append_late: float = 0.0
    append_refused: float = 0.0
    push_lost: float = 0.0
    telemetry_lost: float = 0.0
    telemetry_twice: float = 0.0
    reply_lost: float = 0.0
    store_fails: float = 0.0
    start_fails: float = 0.0
    slow: float = 0.0
    late_writers: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        for name in LIKELIHOODS:
            setattr(self, name, 0.0)
        self.late_writers.clear()


# What chance decides of the noise.
LIKELIHOODS = tuple(name for name in Noise.__slots__ if name != "late_writers")


class Link:
    """The way between two actors: its delays, and whether either direction is cut."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name
        self.ends = name.split("~")
        self._random = world.chance(f"link/{name}")
        self.cut_there = False
        self.cut_back = False
        self.on_change: list[Callable[[], None]] = []

    @property
    def whole(self) -> bool:
        """Whether both directions work."""
        return not (self.cut_there or self.cut_back)

    def goes(self, *, there: bool) -> bool:
        """Tell whether a direction works."""
        return not (self.cut_there if there else self.cut_back)

    def delay_s(self) -> float:
        """Return how long one message takes."""
        if self._random.random() < self._world.noise.slow:
            return self._random.uniform(0.05, 1.5)
        return self._random.uniform(0.0003, 0.004)

    def happens(self, likelihood: float) -> bool:
        """Draw whether something happens to one message."""
        return likelihood > 0 and self._random.random() < likelihood

    def uniform(self, low: float, high: float) -> float:
        """Draw a number that belongs to this link."""
        return self._random.uniform(low, high)

    def cut(self, *, there: bool, back: bool) -> None:
        """Cut or mend each direction."""
        self.cut_there, self.cut_back = there, back
        for callback in tuple(self.on_change):
            callback()


@dataclass(slots=True)
class SimClock:
    """A machine's clocks: one that may be stepped, one that only goes on."""

    loop: VirtualLoop
    offset_us: int = 0
    base_s: float = 0.0

    def now_us(self) -> int:
        return EPOCH_US + round(self.loop.time() * _MICROS) + self.offset_us

    def monotonic_s(self) -> float:
        return self.loop.time() + self.base_s


@dataclass(slots=True)
class World:
    """One run's surroundings. `trace` is what two runs of a seed have in common."""

    seed: int
    loop: VirtualLoop
    noise: Noise = field(default_factory=Noise)
    keep_lines: bool = False
    faulty: bool = True
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    blunders: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    nowhere: Context = field(default_factory=Context)
    entries: int = 0
    _digest: Any = field(default_factory=sha256)

    def chance(self, name: str) -> Random:
        """Return randomness of one purpose: what others draw does not move it."""
        return Random(f"{self.seed}/{name}")

    def link(self, one: str, other: str) -> Link:
        """Return the way between two actors."""
        name = f"{one}~{other}"
        if name not in self.links:
            self.links[name] = Link(self, name)
        return self.links[name]

    def clock(self, offset_us: int = 0, base_s: float = 0.0) -> SimClock:
        """Return a machine's clock."""
        return SimClock(self.loop, offset_us, base_s)

    def now_us(self) -> int:
        """Return the true time."""
        return EPOCH_US + round(self.loop.time() * _MICROS)

    def tell(self, who: str, what: str) -> None:
        """Add a line to the trace."""
        line = f"{self.loop.time():12.6f} {who}: {what}"
        self._digest.update(line.encode())
        self.entries += 1
        if self.keep_lines:
            self.lines.append(line)

    def note(self, who: str, what: str) -> None:
        """Add a line for readers only: it is no part of the digest."""
        if self.keep_lines:
            self.lines.append(f"{self.loop.time():12.6f} {who}: {what}")

    def fault(self, kind: str, who: str, what: str = "") -> None:
        """Count a fault and tell it."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        self.tell(who, f"! {kind} {what}".rstrip())

    def count(self, what: str) -> None:
        """Count something that the log does not tell."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def problem(self, sentence: str) -> None:
        """Note that something is wrong."""
        self.problems.append(sentence)
        self.tell("checker", sentence)

    def blunder(self, sentence: str) -> None:
        """Note that something is wrong which nothing excuses, not even a broker that forgot."""
        self.blunders.append(sentence)
        self.problem(sentence)

    def later(self, seconds: float, callback: Callable[..., object], *args: object) -> None:
        """Call back in the name of nobody."""
        self.loop.call_later(seconds, callback, *args, context=self.nowhere)

    def trace_digest(self) -> str:
        """Return what the trace so far comes to."""
        return str(self._digest.hexdigest())


def require_alive(process: Process) -> None:
    """Raise ProcessDeadError if the process was killed."""
    if not process.alive:
        raise ProcessDeadError(process.name)
