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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import NamedTuple

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

# The plot: what its axes cover, in percent, and where it lies, in pixels.
_WIDTH, _HEIGHT, _LEFT, _TOP = 760, 460, 60, 20
_PLOT_WIDTH, _PLOT_HEIGHT = 480, 380
_FROM_X, _TO_X, _FROM_Y, _TO_Y = 80, 130, 80, 100
_COLOURS = ("#888888", "#d62728", "#9467bd", "#1f77b4", "#ff7f0e", "#2ca02c")


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
    written = os.environ.get("FOG_BENCH_PLOT")
    if written:
        curves = {f"{each.strategy}": _mean_curve(each.curves) for each in results}
        theirs = {
            f"{name} (published)": _mean_curve(published[PUBLISHED_NAMES[name]])
            for name in curves
            if PUBLISHED_NAMES[name] in published
        }
        Path(written).write_text(plot(curves, theirs))
        print(f"plot: {written}")


def _mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    return [mean(curve[percent] for curve in curves) for percent in range(OVERFULL + 1)]


def _row(measured: Measured, published: dict[str, list[list[float]]]) -> str:
    line = f"{measured.strategy:<14}"
    theirs = published.get(PUBLISHED_NAMES[measured.strategy])
    for percent in (FULL, OVERFULL):
        line += f"{measured.at(percent):>10.2f}"
        line += f"{mean(curve[percent] for curve in theirs):>11.2f}" if theirs else f"{'-':>11}"
    return line


def plot(curves: Mapping[str, Sequence[float]], published: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG: each curve by percent arrived, published ones dashed in the same colour."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<style>text { font: 12px sans-serif }</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_axes(),
    ]
    for number, (name, curve) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(_line(curve, colour, ""))
        theirs = published.get(f"{name} (published)")
        if theirs is not None:
            parts.append(_line(theirs, colour, "4 3"))
        y = _TOP + 14 + 18 * number
        x = _LEFT + _PLOT_WIDTH + 20
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{name} {curve[_TO_X]:.1f} %</text>')
    note_y = _TOP + 30 + 18 * len(curves)
    parts.append(
        f'<text x="{_LEFT + _PLOT_WIDTH + 20}" y="{note_y}" fill="#444">dashed: published</text>'
    )
    return "\n".join([*parts, "</svg>", ""])


def _axes() -> list[str]:
    parts = []
    for percent in range(_FROM_Y, _TO_Y + 1, 5):
        y = _y(percent)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT_WIDTH}" y1="{y}" y2="{y}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent}</text>'
        )
    for percent in range(_FROM_X, _TO_X + 1, 10):
        x = _x(percent)
        bottom = _TOP + _PLOT_HEIGHT
        parts.append(f'<text x="{x}" y="{bottom + 18}" text-anchor="middle">{percent}</text>')
    middle = _LEFT + _PLOT_WIDTH / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 14}" text-anchor="middle">GPUs asked for, in % of all; '
        "upwards: GPUs allocated, in % of all</text>"
    )
    return parts


def _line(curve: Sequence[float], colour: str, dashes: str) -> str:
    points = " ".join(
        f"{_x(percent):.1f},{_y(max(curve[percent], _FROM_Y)):.1f}"
        for percent in range(_FROM_X, _TO_X + 1)
    )
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dashed}/>'


def _x(percent: float) -> float:
    return _LEFT + _PLOT_WIDTH * (percent - _FROM_X) / (_TO_X - _FROM_X)


def _y(percent: float) -> float:
    return _TOP + _PLOT_HEIGHT * (_TO_Y - percent) / (_TO_Y - _FROM_Y)


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
