# ruff: noqa: T201 (a command prints)
"""Runs seeds: `python -m tests.simulation --seeds A..B [--profile brief]`, or replays one.

`--mistakes --seeds 1..1000` counts how many seeds each planted mistake takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.bugs import BUGS, planted, run_planted
from tests.simulation.figures import NAMES
from tests.simulation.mistakes import sightings
from tests.simulation.plan import PROFILES, Plan, Profile, plan_of
from tests.simulation.run import Result, run_seed

_BAR = 24
_MICROS = 1e6


def main() -> int:
    """Run what the command line asks for; 1 if a seed fails."""
    asked = _arguments()
    with ExitStack() as stack:
        if asked.mistakes:
            return _try_mistakes(asked)
        if asked.seed is None:
            return _hunt(asked)
        if asked.bug:
            stack.enter_context(planted(asked.bug))
        plan = plan_of(asked.seed, asked.profile)
        if asked.minimise:
            plan = _minimised(plan)
        return _replay(plan, asked.transcript)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1..50", help="first..last, both included")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long")
    parser.add_argument("--jobs", type=int, default=1, help="processes to run seeds in")
    parser.add_argument("--seed", type=int, help="replay one seed with its transcript")
    parser.add_argument("--transcript", type=Path, help="write the transcript to this file")
    parser.add_argument(
        "--minimise", action="store_true", help="leave out faults that the failure does not need"
    )
    parser.add_argument("--profile", choices=PROFILES, default="usual", help="how large runs are")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant a mistake in the code")
    parser.add_argument(
        "--mistakes", action="store_true", help="count the seeds that each planted mistake takes"
    )
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failing seed")
    return parser.parse_args()


# --- one seed ---------------------------------------------------------------------------------


def _replay(plan: Plan, transcript: Path | None) -> int:
    result = run_seed(plan.seed, keep_lines=True, plan=plan)
    text = "\n".join(
        [
            *result.lines,
            *(f"problem: {each}" for each in result.problems),
            *(f"complaint: {each}" for each in result.complaints if each not in result.problems),
            f"trace digest: {result.digest}",
        ]
    )
    if transcript is None:
        print(text)
    else:
        transcript.write_text(text + "\n", encoding="utf-8")
        print("\n".join([*result.problems, f"trace digest: {result.digest}"]))
    return int(not result.clean)


def _minimised(plan: Plan) -> Plan:
    """Leave out one fault after the other as long as the run fails."""
    if run_seed(plan.seed, plan=plan).clean:
        return plan
    for fault in plan.faults:
        without = tuple(each for each in plan.faults if each is not fault)
        smaller = replace(plan, faults=without)
        if not run_seed(plan.seed, plan=smaller).clean:
            plan = smaller
    print(f"faults that it takes: {len(plan.faults)}")
    for fault in plan.faults:
        print(f"  {fault.at_s:8.2f} s {fault.kind} for {fault.lasts_s:.1f} s")
    return plan


# --- many seeds -------------------------------------------------------------------------------


def _seeds(asked: argparse.Namespace) -> range:
    first, _, last = asked.seeds.partition("..")
    return range(int(first), int(last or first) + 1)


def _try_mistakes(asked: argparse.Namespace) -> int:
    """Print a table of planted mistakes; 1 if one of them does not show."""
    seeds, missed = _seeds(asked), 0
    print("| mistake | profile | seeds | seen as |\n|---|---|---|---|", flush=True)
    for bug, profile, seed, complaint in sightings(seeds, asked.jobs):
        missed += seed is None
        took = "none" if seed is None else seed - seeds.start + 1
        print(f"| {bug} | {profile} | {took} | {complaint} |", flush=True)
    return int(missed > 0)


def _hunt(asked: argparse.Namespace) -> int:
    seeds = _seeds(asked)
    began_s = time.monotonic()
    ends_s = began_s + asked.minutes * 60 if asked.minutes else float("inf")
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    figures: Counter[str] = Counter()
    seen_in: Counter[str] = Counter()
    failing: list[int] = []
    for result in _results(seeds, ends_s, asked):
        totals.update(
            seeds=1,
            commits=result.counts.commits,
            placements=result.counts.placements,
            acknowledged=result.acknowledged,
            simulated_us=round(result.simulated_s * _MICROS),
        )
        faults.update(result.faults)
        figures.update(result.figures)
        seen_in.update(name for name, number in result.figures.items() if number)
        _show(totals, faults, len(seeds), time.monotonic() - began_s)
        if not result.clean:
            failing.append(result.seed)
            _complain(result, asked.bug, asked.profile)
            if not asked.keep_going:
                break
    _sum_up(totals, faults, time.monotonic() - began_s, failing)
    print("happened, and in how many seeds: ", end="")
    print(", ".join(f"{name} {figures[name]} ({seen_in[name]})" for name in NAMES))
    return int(bool(failing))


def _results(seeds: range, ends_s: float, asked: argparse.Namespace) -> Iterator[Result]:
    jobs, bug, profile = asked.jobs, asked.bug, asked.profile
    if jobs == 1:
        for seed in seeds:
            if time.monotonic() > ends_s:
                return
            yield run_planted(seed, bug, profile)
        return
    waiting: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        try:
            for seed in seeds:
                if time.monotonic() > ends_s:
                    break
                waiting.append(pool.submit(run_planted, seed, bug, profile))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _show(totals: Counter[str], faults: Counter[str], wanted: int, took_s: float) -> None:
    if not sys.stderr.isatty():
        return
    done = totals["seeds"]
    full = _BAR * done // wanted
    ratio = totals["simulated_us"] / _MICROS / took_s
    sys.stderr.write(
        f"\r[{'#' * full}{'.' * (_BAR - full)}] {done}/{wanted} seeds  "
        f"{done / took_s:.1f} seeds/s  {ratio:.0f} times real time  {faults.total()} faults "
    )
    sys.stderr.flush()


def _complain(result: Result, bug: str | None, profile: Profile) -> None:
    planted_bug = f" --bug {bug}" if bug else ""
    print(f"\nseed {result.seed} fails:")
    for sentence in result.complaints:
        print(f"  {sentence}")
    asked = f"--seed {result.seed} --profile {profile}{planted_bug}"
    print(f"  replay: python -m tests.simulation {asked}")
    print(f"  trace digest: {result.digest}", flush=True)


def _sum_up(totals: Counter[str], faults: Counter[str], took_s: float, failing: list[int]) -> None:
    simulated_s = totals["simulated_us"] / _MICROS
    print(
        f"\n{totals['seeds']} seeds in {took_s:.0f} s ({totals['seeds'] / took_s:.2f} a second), "
        f"{simulated_s / 3600:.1f} h simulated, {simulated_s / took_s:.0f} times real time"
    )
    print(
        f"{totals['commits']} commits, {totals['placements']} placements, "
        f"{totals['acknowledged']} acknowledged commands"
    )
    print("faults: " + ", ".join(f"{kind} {number}" for kind, number in faults.most_common()))
    print(f"failing seeds: {failing}" if failing else "no seed fails")


if __name__ == "__main__":
    sys.exit(main())
