"""How fast replicas are placed, against the least that a scheduler of this kind must do.

CPU time throughout, so that others on the machine matter little.

- floor: for each decision one vectorised filter, score and choice of the best over arrays of the
  same size, with ready buffers: no queue, no reasons, no ids, no log;
- deciding: what the planner takes to decide rounds on deployments that wait, outcomes and all;
- and folding: the same with folding the rounds into the planner's state.

`ratio` is the floor's time over the planner's: the share of the floor's rate that is reached.
Then what it costs to preempt, and how the cost grows: with replicas placed before, and with
deployments that wait in vain.
"""

from __future__ import annotations

import argparse
import gc
import time
import tracemalloc
from statistics import median
from typing import NamedTuple

import numpy as np

from bench.placement_fleet import CPU, MEMORY, Bench, asks
from bench.plots import Axis, Curve, write_if_wanted
from fogbank.domain import events as ev
from fogbank.domain.node import Fingerprint
from fogbank.runtime.garbage import spare_garbage_collection
from tests.support.fleet_log import a_spec

_DIMENSIONS = 4


class Cost(NamedTuple):
    """CPU microseconds for each decision."""

    deciding: float
    folding: float
    replicas: int

    @property
    def both(self) -> float:
        """Deciding and folding."""
        return self.deciding + self.folding


def decide_all(bench: Bench, most: int) -> Cost:
    """Decide until `most` deployments were placed or nothing is left."""
    gc.collect()
    gc.freeze()
    deciding = folding = 0.0
    placed = replicas = 0
    while placed < most:
        began_s = time.process_time()
        decided = bench.planner.decide(bench.log.now_us)
        deciding += time.process_time() - began_s
        if decided is None:
            break
        commit = bench.log.round(decided.event)
        began_s = time.process_time()
        bench.planner.fold(commit)
        folding += time.process_time() - began_s
        found = [one for one in decided.event.outcomes if isinstance(one, ev.DeploymentPlaced)]
        placed += len(found)
        replicas += sum(len(one.placements) for one in found)
    assert placed, "nothing was placed"
    return Cost(deciding / placed * 1e6, folding / placed * 1e6, replicas)


def floor_us(nodes: int, replicas: int, *, constrained: bool, full_percent: int) -> float:
    """Return what one decision costs that filters, scores and chooses, and does nothing else."""
    chance = np.random.default_rng(1)
    allocatable = np.full((_DIMENSIONS, nodes), MEMORY, dtype=np.int64)
    allocatable[0] = CPU
    booked = allocatable * full_percent // 100
    room = allocatable[:2].astype(np.float64)
    load, near = chance.random((2, nodes)), chance.random(nodes)
    open_nodes = np.ones(nodes, dtype=np.bool_)
    meeting = chance.random(nodes) < 0.5
    ask = np.array([[200], [256], [1], [0]], dtype=np.int64)
    after, fits = np.empty_like(booked), np.empty(booked.shape, dtype=np.bool_)
    left, total = np.empty(nodes, dtype=np.bool_), np.empty(nodes)
    shares, idle = np.empty((2, nodes)), np.empty((2, nodes))
    times = max(min(20_000_000 // nodes, 3_000), 30)
    began_s = time.process_time()
    for _ in range(times):
        np.add(booked, ask, out=after)
        np.less_equal(after, allocatable, out=fits)
        np.logical_and.reduce(fits, axis=0, out=left)
        np.logical_and(left, open_nodes, out=left)
        if constrained:
            np.logical_and(left, meeting, out=left)
        np.subtract(allocatable[:2], after[:2], out=shares)
        np.maximum(shares, 0, out=shares)
        np.divide(shares, room, out=shares)
        np.add(shares[0], shares[1], out=total)
        np.multiply(total, 0.2, out=total)
        np.subtract(1.0, load, out=idle)
        np.multiply(idle, 0.15, out=idle)
        np.add(total, idle[0], out=total)
        np.add(total, idle[1], out=total)
        np.add(total, near, out=total)
        np.multiply(total, 1000, out=total)
        np.add(total, 0.5, out=total)
        np.floor(total, out=total)
        np.negative(total, out=total)
        np.copyto(total, np.inf, where=~left)
        if replicas == 1:
            booked[:, int(np.argmin(total))] += ask[:, 0]
        else:
            rows = np.argpartition(total, replicas)[:replicas]
            booked[:, rows[np.argsort(total[rows])]] += ask
    return (time.process_time() - began_s) / times * 1e6


def measure(
    nodes: int, replicas: int, full_percent: int, *, constrained: bool, count: int
) -> tuple[float, float]:
    """Print a row; return what a decision takes, and its floor, in microseconds."""
    bench = Bench(nodes, full_percent)
    bench.deploy(asks(64, replicas, constrained=constrained))
    decide_all(bench, 64)  # boards exist, as in a scheduler that runs
    bench.deploy(asks(count, replicas, constrained=constrained))
    cost = decide_all(bench, count)
    floor = floor_us(nodes, replicas, constrained=constrained, full_percent=full_percent)
    print(
        f"{nodes:>7} nodes {full_percent:>2} % full {replicas:>2} replicas"
        f"{' constrained' if constrained else '            '}"
        f"  deciding {cost.deciding:>7.1f} us  and folding {cost.both:>7.1f} us"
        f"  {replicas * 1e6 / cost.both:>9,.0f} placements/s"
        f"  floor {floor:>7.1f} us  ratio {floor / cost.deciding:.2f}, {floor / cost.both:.2f}",
        flush=True,
    )
    return cost.deciding, floor


def growth(nodes: int, count: int) -> None:
    """Print how a decision's cost grows with what was placed and with what waits in vain."""
    tracemalloc.start()
    bench = Bench(nodes)
    per_node = tracemalloc.get_traced_memory()[0] / nodes
    tracemalloc.stop()
    for _ in range(4):
        before = len(bench.planner.fleet.decisions.placements)
        bench.deploy(asks(count, 3))
        cost = decide_all(bench, count)
        print(f"{before:>7} replicas placed before: {cost.both:>7.1f} us a decision of 3 replicas")
    tracemalloc.start()
    bench.deploy(asks(count, 3))
    replicas = decide_all(bench, count).replicas
    per_replica = tracemalloc.get_traced_memory()[0] / replicas
    tracemalloc.stop()
    print(f"memory: {per_node:,.0f} bytes a node, {per_replica:,.0f} bytes a replica of three")
    for waiting in (0, 10_000):
        print(f"{waiting:>7} waiting in vain: {_beside(bench, waiting, count)}")


def _beside(bench: Bench, waiting: int, count: int) -> str:
    too_large = a_spec("large", 1, cpu=CPU, memory=MEMORY, wait_for_capacity=True)
    bench.deploy([too_large] * waiting)
    while bench.planner.decide(bench.log.now_us) is not None:
        decided = bench.planner.decide(bench.log.now_us)
        assert decided is not None
        bench.planner.fold(bench.log.round(decided.event))
    costs = []
    for _ in range(5):
        bench.deploy(asks(count, 3))
        costs.append(decide_all(bench, count).both)
    together = median(costs)
    alone = []
    for spec in asks(20, 3):
        bench.deploy([spec])
        # Room appears somewhere: whoever waits might be suited by it.
        bench.facts(iter([ev.NodeConnected(bench.planner.arrays.ids[0], "fog-0", _host(bench))]))
        alone.append(decide_all(bench, 1).both)
    return (
        f"{together:.1f} us a decision, {median(alone):.0f} us for a single one after room appeared"
    )


def _host(bench: Bench) -> Fingerprint:
    return bench.planner.fleet.facts.nodes[bench.planner.arrays.ids[0]].fingerprint


def preempting(nodes: int, count: int) -> None:
    """Print what a decision costs that evicts two replicas for each one that it places.

    Included is what becomes of those: each is looked at again, finds no room, and waits.
    """
    bench = Bench(nodes)
    quarter = a_spec("low", 1, cpu=CPU // 4, memory=MEMORY // 4, storage=1, priority=20)
    bench.deploy([quarter] * (4 * nodes))
    decide_all(bench, 4 * nodes)
    for replicas in (1, 3):
        half = a_spec("high", replicas, cpu=CPU // 2, memory=MEMORY // 2, storage=1, priority=80)
        bench.deploy([half] * count)
        cost = decide_all(bench, count)
        assert cost.replicas == count * replicas
        print(
            f"{nodes:>7} nodes full of less important replicas: deciding {cost.deciding:>7.1f} us  "
            f"and folding {cost.both:>7.1f} us a decision of {replicas} that preempts",
            flush=True,
        )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=[1_000, 5_000, 10_000, 100_000])
    parser.add_argument("--deployments", type=int, default=2_000)
    parser.add_argument("--brief", action="store_true", help="fewer sizes, a minute in all")
    given = parser.parse_args(arguments)
    spare_garbage_collection()  # as a scheduler does
    sizes = [1_000, 10_000] if given.brief else given.nodes
    curves = {replicas: Curve(f"replicas: {replicas}", [], []) for replicas in (1, 10)}
    for nodes in sizes:
        for replicas, curve in curves.items():
            measure(nodes, replicas, 0, constrained=False, count=given.deployments)
            took, floor = measure(nodes, replicas, 80, constrained=False, count=given.deployments)
            curve.points.append((nodes, took))
            curve.beside.append((nodes, floor))
            measure(nodes, replicas, 80, constrained=True, count=given.deployments)
    write_if_wanted(
        "placement",
        Axis("nodes, 80 % full", sizes),
        Axis("microseconds a decision", (10, 100, 1_000, 10_000)),
        list(curves.values()),
        "floor",
    )
    for nodes in (1_000,) if given.brief else (1_000, 10_000):
        preempting(nodes, nodes // 5)
    growth(1_000 if given.brief else 10_000, given.deployments)


if __name__ == "__main__":
    main()
