"""One run: put a cluster together as the seed says, let things go wrong, see that it mends."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from uuid import UUID

import structlog

from fogbank.checker import Acknowledged, Counts
from fogbank.domain import fleet as fleet_module
from fogbank.domain.fleet import FleetState, StateDiffersError
from tests.simulation.actors import Cluster, GatewayActor, LedgerActor, SchedulerActor
from tests.simulation.broker import Broker
from tests.simulation.faults import Faults, add_agent
from tests.simulation.figures import figures_of
from tests.simulation.history import impossible_transitions
from tests.simulation.loop import StalledError, VirtualLoop, current_process, pause, run_virtually
from tests.simulation.machines import Database
from tests.simulation.operator import Operator
from tests.simulation.plan import Plan, Profile, plan_of
from tests.simulation.slots import doubled_in_spite_of_rules, doubled_slots
from tests.simulation.snapshots import differing_snapshots
from tests.simulation.verify import (
    broken_answers,
    differing_states,
    differing_verdicts,
    flip_unnoticed,
    overfull_machines,
    report_on,
    restless_nodes,
    unasked_commands,
    unfinished,
)
from tests.simulation.workload import Client
from tests.simulation.world import World
from tests.support.laws import changed_by_void_events, differing_rounds

# After the faults everything must have come to rest within so long.
SETTLE_S: dict[Profile, float] = {
    "usual": 420.0,
    "brief": 120.0,
    "changes": 240.0,
    "shared": 240.0,
    "canary": 60.0,
    "flipped": 60.0,
}
_LOOK_S = 5.0
# Where it never gets quiet the log is looked at every so many looks.
_LOOKS_APART = 6
# From so long after the faults on, no stream may break any more.
_CALM_S = 100.0
_SHOWN = 8
# So far the clocks are off when nothing goes wrong any more, and a round takes its time.
_CLOCKS_APART_US = 3_000_000


@dataclass(slots=True)
class Result:
    """What came of a seed. `problems` is empty if all held; times in seconds.

    `bereft` tells that a process lived to see commits gone which it knew; such a run must have
    problems, and none of them a blunder. `unnoticed` is what `flip_unnoticed` says.
    """

    seed: int
    profile: Profile
    digest: str
    problems: list[str]
    blunders: list[str]
    bereft: bool
    unnoticed: bool
    simulated_s: float
    settled_s: float
    took_s: float
    counts: Counts
    faults: dict[str, int]
    acknowledged: int
    figures: Counter[str]
    lines: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong, and a loss was noticed."""
        return not self.complaints

    @property
    def complaints(self) -> list[str]:
        """What speaks against the run; a canary's problems are as it should be."""
        if self.profile == "flipped":
            return ["a process whose state was changed did not notice"] if self.unnoticed else []
        if self.profile != "canary":
            return self.problems
        if self.bereft and not self.problems:
            return ["nobody noticed that commits were lost"]
        return self.blunders


def run_seed(
    seed: int,
    profile: Profile = "usual",
    *,
    keep_lines: bool = False,
    plan: Plan | None = None,
) -> Result:
    """Run a seed to its end and check it."""
    began_s = time.perf_counter()
    collected = gc.isenabled()
    gc.disable()  # what a collection finalises would run at an arbitrary instant
    result: Result | None = None
    try:

        async def main(loop: VirtualLoop) -> None:
            nonlocal result
            world = World(seed, loop, keep_lines=keep_lines)
            drawn = plan or plan_of(seed, profile)
            stack.enter_context(_determined(world, drawn))
            result = await _Run(world, drawn).to_the_end()

        try:
            with ExitStack() as stack:
                run_virtually(main)
        except StalledError:
            raise AssertionError(f"seed {seed}: everybody waits for ever") from None
    finally:
        if collected:
            gc.enable()
    assert result is not None
    result.took_s = time.perf_counter() - began_s
    return result


class _Run:
    """One run on a loop of its own."""

    def __init__(self, world: World, plan: Plan) -> None:
        self._world = world
        self._plan = plan
        self._cluster = Cluster(world, Broker(world, plan.window_s), Database(), plan.policy)
        self._clients = [Client(self._cluster, number, plan) for number in range(plan.clients)]
        self._operator = Operator(self._cluster, plan)

    async def to_the_end(self) -> Result:
        """Run, mend, settle, check."""
        world, plan, cluster = self._world, self._plan, self._cluster
        self._start()
        faults = Faults(cluster, plan)
        clients = [client.run(plan.lasts_s) for client in self._clients]
        await asyncio.gather(faults.run(), self._operator.run(), *clients)
        faults.end()
        healed_s = world.loop.time()
        counts, figures = Counts(), Counter(world.counts)
        if plan.profile == "flipped":
            # Rounds with the digests of a wrong state may be in the log: nobody comes to rest.
            await pause(_LOOK_S)
        else:
            await asyncio.gather(
                self._operator.finish(), *(client.finish() for client in self._clients)
            )
            try:
                counts = await self._settle(healed_s)
                figures = figures_of(cluster.broker.commits, world.counts)
            except StateDiffersError as error:
                world.problem(f"the log cannot be folded: {error}")
        settled_s = world.loop.time() - healed_s
        unnoticed = flip_unnoticed(cluster)
        for actor in cluster.actors:
            actor.kill()
        return Result(
            plan.seed,
            plan.profile,
            world.trace_digest(),
            world.problems,
            world.blunders,
            bool(cluster.broker.bereft),
            unnoticed,
            world.loop.time(),
            settled_s,
            0.0,
            counts,
            world.faults,
            len(self._acknowledged()),
            figures,
            world.lines,
        )

    def _start(self) -> None:
        plan, cluster, world = self._plan, self._cluster, self._world
        offsets = iter(plan.clock_offsets_ms)
        random = world.chance("machines")

        def clock() -> Any:
            return world.clock(next(offsets) * 1_000, random.uniform(0, 1e5))

        cluster.gateways += [
            GatewayActor(cluster, f"gateway-{number}", clock()) for number in range(plan.gateways)
        ]
        cluster.schedulers += [
            SchedulerActor(cluster, f"scheduler-{number}", clock())
            for number in range(plan.schedulers)
        ]
        cluster.ledgers += [
            LedgerActor(cluster, f"ledger-{number}", clock()) for number in range(plan.ledgers)
        ]
        for actor in cluster.actors:
            actor.start()
        for node in plan.nodes:
            agent = add_agent(cluster, node, next(offsets))
            world.later(node.joins_s, agent.start)

    def _acknowledged(self) -> list[Acknowledged]:
        return [each for client in self._clients for each in client.acknowledged]

    async def _settle(self, healed_s: float) -> Counts:
        """Wait until everything rests, then check; complain if it takes too long.

        What broke a rule of the log will not be right later: nobody waits for the end of that.
        """
        world, cluster = self._world, self._cluster
        seen, looks = -1, 0
        while True:
            await pause(_LOOK_S)
            looks += 1
            end = len(cluster.broker.commits)
            quiet, seen = end == seen, end
            late = world.loop.time() - healed_s > self._patience_s()
            if not quiet and not late and looks % _LOOKS_APART:
                continue
            left = unfinished(cluster)
            report = report_on(cluster, self._acknowledged(), settled=not left)
            left += [str(each) for each in report.violations]
            if not left and (quiet or late):
                break
            if late or world.problems or self._broken():
                for sentence in left[:_SHOWN]:
                    world.problem(f"{world.loop.time() - healed_s:.0f} s after faults: {sentence}")
                break
        self._check(report.counts, world.now_us(), healed_s, late=bool(left))
        return report.counts

    def _broken(self) -> bool:
        """Tell whether the log broke a rule, whatever else is to come."""
        return bool(report_on(self._cluster, self._acknowledged(), settled=False).violations)

    def _patience_s(self) -> float:
        """Return how long after the faults everything must rest.

        While a scheduler waits for an instant, each silent node may take a pause of the guard of
        regions longer: where most of a region is silent, it gives up one after the other.
        """
        usual_s, now_us = SETTLE_S[self._plan.profile], self._world.now_us()
        planners = [
            each.scheduler.planner
            for each in self._cluster.schedulers
            if each.scheduler is not None
        ]
        return usual_s + max(
            (
                len(planner.fleet.decisions.offline) * _guard_pause_s(planner.fleet)
                for planner in planners
                if (planner.next_look_us() or 0) > now_us - _CLOCKS_APART_US
            ),
            default=0.0,
        )

    def _check(self, counts: Counts, now_us: int, healed_s: float, *, late: bool) -> None:
        cluster = self._cluster
        quiet_s = healed_s + _CALM_S - self._world.loop.time()
        found = broken_answers(cluster, self._clients)
        found += unasked_commands(cluster, self._clients)
        if not late:
            found += differing_states(cluster)
        found += overfull_machines(cluster)
        found += doubled_slots(cluster)
        found += doubled_in_spite_of_rules(cluster)
        found += self._operator.forgotten()
        found += differing_verdicts(cluster, counts)
        found += impossible_transitions(cluster.broker.commits)
        found += changed_by_void_events(cluster.broker.commits)
        found += differing_rounds(cluster.broker.commits)
        found += differing_snapshots(cluster.snapshots, cluster.broker.commits)
        found += restless_nodes(cluster, now_us + round(quiet_s * 1_000_000))
        for sentence in found[:_SHOWN]:
            self._world.problem(sentence)


def _guard_pause_s(fleet: FleetState) -> float:
    return fleet.facts.policy.disruption.guard_pause_ms / 1_000


@contextmanager
def _determined(world: World, plan: Plan) -> Iterator[None]:
    """Let nothing but the seed decide: ids, how often there are digests, where log lines go."""
    random = world.chance("uuid4")

    def drawn() -> UUID:
        return UUID(int=random.getrandbits(128), version=4)

    def told(_: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        process = current_process()
        if process is not None and process.alive:
            text = event.pop("event")
            rest = " ".join(f"{key}={value}" for key, value in event.items())
            world.note(process.name, f"({method}) {text} {rest}".rstrip())
        raise structlog.DropEvent

    former = structlog.get_config()
    level = 10 if world.keep_lines else 50
    structlog.configure(
        processors=[told],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    try:
        with ExitStack() as stack:
            stack.enter_context(
                patch.object(fleet_module, "DIGEST_EVERY_ROUNDS", plan.digest_every_rounds)
            )
            for name, module in sorted(sys.modules.items()):
                if name.startswith("services.gateway.app.") and hasattr(module, "uuid4"):
                    stack.enter_context(patch.object(module, "uuid4", drawn))
            yield
    finally:
        structlog.configure(**former)
