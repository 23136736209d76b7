# ruff: noqa: T201 (a command prints)
"""Runs seeds: `python -m tests.simulation --seeds A..B [--minutes N]`, or replays one."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.simulation.bugs import BUGS, planted
from tests.simulation.run import Result, run_seed

_BAR = 24
_MICROS = 1e6


def main() -> int:
    """Run what the command line asks for; 1 if a seed fails."""
    asked = _arguments()
    with ExitStack() as stack:
        if asked.bug:
            stack.enter_context(planted(asked.bug))
        if asked.seed is not None:
            return _replay(asked.seed, asked.transcript)
        return _hunt(asked)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", default="1..50", help="first..last, both included")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after so long")
    parser.add_argument("--seed", type=int, help="replay one seed with its transcript")
    parser.add_argument("--transcript", type=Path, help="write the transcript to this file")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant a mistake in the code")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failing seed")
    return parser.parse_args()


def _replay(seed: int, transcript: Path | None) -> int:
    result = run_seed(seed, keep_lines=True)
    text = "\n".join(
        [
            *result.lines,
            *(f"problem: {each}" for each in result.problems),
            f"trace digest: {result.digest}",
        ]
    )
    if transcript is None:
        print(text)
    else:
        transcript.write_text(text + "\n", encoding="utf-8")
        print("\n".join([*result.problems, f"trace digest: {result.digest}"]))
    return int(not result.clean)


def _hunt(asked: argparse.Namespace) -> int:
    first, _, last = asked.seeds.partition("..")
    seeds = range(int(first), int(last or first) + 1)
    ends_s = time.monotonic() + asked.minutes * 60 if asked.minutes else float("inf")
    began_s = time.monotonic()
    totals: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    failing: list[int] = []
    for result in _results(seeds, ends_s):
        totals.update(
            seeds=1,
            commits=result.counts.commits,
            placements=result.counts.placements,
            acknowledged=result.acknowledged,
        )
        faults.update(result.faults)
        totals["simulated_us"] += round(result.simulated_s * _MICROS)
        _show(totals, len(seeds), time.monotonic() - began_s)
        if not result.clean:
            failing.append(result.seed)
            _complain(result, asked.bug)
            if not asked.keep_going:
                break
    _sum_up(totals, faults, time.monotonic() - began_s, failing)
    return int(bool(failing))


def _results(seeds: range, ends_s: float) -> Iterator[Result]:
    for seed in seeds:
        if time.monotonic() > ends_s:
            return
        yield run_seed(seed)


def _show(totals: Counter[str], wanted: int, took_s: float) -> None:
    if not sys.stderr.isatty():
        return
    done = totals["seeds"]
    full = _BAR * done // wanted
    ratio = totals["simulated_us"] / _MICROS / took_s
    sys.stderr.write(
        f"\r[{'#' * full}{'.' * (_BAR - full)}] {done}/{wanted} seeds  "
        f"{done / took_s:.1f} seeds/s  {ratio:.0f} times real time "
    )
    sys.stderr.flush()


def _complain(result: Result, bug: str | None) -> None:
    planted_bug = f" --bug {bug}" if bug else ""
    print(f"\nseed {result.seed} fails:")
    for sentence in result.problems:
        print(f"  {sentence}")
    print(f"  replay: python -m tests.simulation --seed {result.seed}{planted_bug}")
    print(f"  trace digest: {result.digest}")


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
