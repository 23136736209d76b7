"""Placement quality on a published GPU trace, against the figures published for it.

The Alibaba GPU trace of 2023 (1,213 nodes, 6,212 GPUs; Weng et al., 'Beware of Fragmentation',
USENIX ATC 2023) is replayed through the planner in its recorded orders of arrival: each pod is a
deployment of one replica that fails where it finds no room, and nothing ever ends. What counts is
which share of the GPUs is allocated once asks for 100 % and for 130 % of them have arrived.

The data is not part of this repository: FOGBANK_TRACES names a folder with `alibaba-gpu-2023` in
it, as `docs/benchmarks.md` describes. Without it this says so and ends well.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from bench.plots import Axis, Curve, Point, write_if_wanted
from fogbank.domain import events as ev
from fogbank.domain.named_policies import NAMED_POLICIES
from fogbank.domain.policy import MixedAsk, Policy, ResourceWeights
from fogbank.domain.resources import Resources
from fogbank.placement import Planner
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec

VARIABLE = "FOGBANK_TRACES"
FOLDER = "alibaba-gpu-2023"
# Strategies of ours and the names of the same ones in the published table.
PUBLISHED_NAMES = {
    "random": "01-Random",
    "dot-product": "02-DotProd",
    "gpu-packing": "04-GpuPacking",
    "best-fit": "05-BestFit",
    "first-fit": "",
    "fgd": "06-FGD",
}
FULL, OVERFULL = 100, 130
# So much of the asks, by how common they are, makes the mix that fgd expects.
_COMMON = 0.95
# What the plot's axes cover, in percent.
_ARRIVED, _ALLOCATED = range(80, 131, 10), range(80, 101, 5)


class Pod(NamedTuple):
    """What one pod asks for; memory in MiB."""

    cpu_millicores: int
    memory_mib: int
    gpu_thousandths: int


class Host(NamedTuple):
    """What one node has; memory in MiB, gpus in devices."""

    name: str
    cpu_millicores: int
    memory_mib: int
    gpus: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Nodes, pods, and for each seed the order in which pods arrive and nodes stand."""

    hosts: tuple[Host, ...]
    pods: tuple[Pod, ...]
    arrivals: dict[int, tuple[int, ...]]
    host_orders: dict[int, tuple[int, ...]]

    @property
    def gpu_thousandths(self) -> int:
        """All GPUs of all nodes."""
        return sum(host.gpus for host in self.hosts) * 1_000


def read_trace(folder: Path) -> Trace:
    """Read the trace's files from a folder."""
    with (folder / "openb_node_list_gpu_node.csv").open(newline="") as file:
        hosts = tuple(
            Host(row["sn"], int(row["cpu_milli"]), int(row["memory_mib"]), int(row["gpu"]))
            for row in csv.DictReader(file)
        )
    with gzip.open(folder / "openb_pod_list_default.csv.gz", "rt", newline="") as file:
        pods = tuple(
            Pod(
                int(row["cpu_milli"]),
                int(row["memory_mib"]),
                int(row["num_gpu"]) * int(row["gpu_milli"] or 0),
            )
            for row in csv.DictReader(file)
        )
    arrivals, host_orders = {}, {}
    with gzip.open(folder / "order_default.txt.gz", "rt") as file:
        for line in file:
            name, *numbers = line.split()
            kept = tuple(int(number) for number in numbers)
            if name.startswith("perm"):
                host_orders[int(name.removeprefix("perm"))] = kept
            else:
                arrivals[int(name)] = kept
    return Trace(hosts, pods, arrivals, host_orders)


def read_published(folder: Path) -> dict[str, list[list[float]]]:
    """Return the published allocation in percent at 0..130 % arrived, by policy and seed."""
    table: dict[str, list[list[float]]] = {}
    with gzip.open(folder / "published_alloc_by_arrival.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            if row["workload"] == "openb_pod_list_default":
                curve = [float(row[str(percent)] or "nan") for percent in range(OVERFULL + 1)]
                table.setdefault(row["sc_policy"], []).append(curve)
    return table


def mix_of(pods: Sequence[Pod]) -> tuple[MixedAsk, ...]:
    """Return the commonest kinds of asks: those that make up 95 % of all."""
    kinds = Counter((pod.cpu_millicores, pod.gpu_thousandths) for pod in pods)
    mix, seen = [], 0
    for (cpu, gpu), count in sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0])):
        mix.append(MixedAsk(cpu, gpu, count))
        seen += count
        if seen >= _COMMON * len(pods):
            break
    return tuple(mix)


def policy_for(strategy: str, pods: Sequence[Pod]) -> Policy:
    """Return the policy under which everything goes by one strategy, without second tries."""
    return replace(
        NAMED_POLICIES[strategy],
        retry_backoff_ms=(),
        weights=ResourceWeights(cpu=1, memory=0, storage=0, gpu=1),
        gpu_mix=mix_of(pods),
    )


def replay(trace: Trace, seed: int, strategy: str) -> list[float]:
    """Return which percentage of the GPUs is allocated once 0, 1, ... 130 % were asked for."""
    log, planner = LittleLog(), Planner()
    planner.fold(log.fact(ev.PolicyActivated(policy_for(strategy, trace.pods))))
    for index in trace.host_orders[seed]:
        host = trace.hosts[index]
        fingerprint = a_fingerprint(
            cpu=host.cpu_millicores, memory=host.memory_mib, storage=0, gpu=host.gpus
        )
        planner.fold(log.connect(host.name, fingerprint)[1])
    total, arrived, allocated = trace.gpu_thousandths, 0, 0
    curve: list[float] = []
    for number, pod in enumerate(_arriving(trace, seed)):
        arrived += pod.gpu_thousandths
        allocated += _place(log, planner, f"pod-{number}", pod)
        while len(curve) <= OVERFULL and arrived * 100 >= len(curve) * total:
            curve.append(100 * allocated / total)
    return curve + [100 * allocated / total] * (OVERFULL + 1 - len(curve))


def _arriving(trace: Trace, seed: int) -> Iterator[Pod]:
    return (trace.pods[index] for index in trace.arrivals[seed])


def _place(log: LittleLog, planner: Planner, name: str, pod: Pod) -> int:
    """Let one pod arrive; return the GPU that it got, in thousandths."""
    spec = replace(
        a_spec(name, storage=0),
        resources=Resources(pod.cpu_millicores, pod.memory_mib, 0, pod.gpu_thousandths),
    )
    planner.fold(log.deploy(spec)[1])
    decided = planner.decide(log.now_us)
    assert decided is not None
    assert not decided.errors, decided.errors
    planner.fold(log.round(decided.event))
    log.commits.clear()
    log.data.clear()
    (outcome,) = decided.event.outcomes
    return pod.gpu_thousandths if isinstance(outcome, ev.DeploymentPlaced) else 0


class Measured(NamedTuple):
    """One strategy's curves, one for each seed."""

    strategy: str
    curves: list[list[float]]

    def at(self, percent: int) -> float:
        """Return the mean allocation once so much was asked for."""
        return mean(curve[percent] for curve in self.curves)


def _replay_one(job: tuple[Path, int, str]) -> list[float]:
    folder, seed, strategy = job
    return replay(read_trace(folder), seed, strategy)


def measure(folder: Path, strategies: Sequence[str], seeds: int, workers: int) -> None:
    """Replay, print the table, and draw the plot where it is wanted."""
    began_s = time.process_time()
    trace, published = read_trace(folder), read_published(folder)
    chosen = sorted(trace.arrivals)[:seeds]
    print(
        f"{len(trace.hosts)} nodes, {trace.gpu_thousandths // 1000} GPUs, {len(trace.pods)} kinds "
        f"of pods, {len(chosen)} orders of arrival; allocated share of GPUs in %"
    )
    print(f"{'strategy':<14}{'at 100 %':>10}{'published':>11}{'at 130 %':>10}{'published':>11}")
    results = []
    with ProcessPoolExecutor(workers) as pool:
        for strategy in strategies:
            jobs = [(folder, seed, strategy) for seed in chosen]
            measured = Measured(strategy, list(pool.map(_replay_one, jobs)))
            results.append(measured)
            print(_row(measured, published), flush=True)
    print(f"{time.process_time() - began_s:.0f} s of CPU here, without the workers'")
    write_if_wanted(
        "gpu-trace",
        Axis("GPUs asked for, in % of all", _ARRIVED),
        Axis("GPUs allocated, in % of all", _ALLOCATED),
        [
            Curve(
                f"{each.strategy} {each.at(OVERFULL):.1f} %",
                _points(each.curves),
                _points(published.get(PUBLISHED_NAMES[each.strategy], [])),
            )
            for each in results
        ],
        "published",
    )


def _points(curves: Sequence[Sequence[float]]) -> list[Point]:
    if not curves:
        return []
    return [
        (percent, mean(curve[percent] for curve in curves))
        for percent in range(_ARRIVED[0], _ARRIVED[-1] + 1)
    ]


def _row(measured: Measured, published: dict[str, list[list[float]]]) -> str:
    line = f"{measured.strategy:<14}"
    theirs = published.get(PUBLISHED_NAMES[measured.strategy])
    for percent in (FULL, OVERFULL):
        line += f"{measured.at(percent):>10.2f}"
        line += f"{mean(curve[percent] for curve in theirs):>11.2f}" if theirs else f"{'-':>11}"
    return line


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", nargs="*", default=list(PUBLISHED_NAMES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(arguments)
    traces = os.environ.get(VARIABLE)
    if not traces or not (Path(traces) / FOLDER).is_dir():
        print(f"skipped: set {VARIABLE} to a folder that has the trace in {FOLDER}/")
        return
    measure(Path(traces) / FOLDER, given.strategies, given.seeds, given.workers)


if __name__ == "__main__":
    main()
