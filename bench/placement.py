"""How fast replicas are placed, against the least that any scheduler of this kind must do.

For fleets of several sizes, in replicas a second:

- floor: for each replica an argmax over a ready array of scores, the best node's score lowered by
  one, and nothing else: no filters, no ranking, no reasons, no log;
- placement: rounds decided by the planner and folded back, from commits of the real bytes:
  filters with their refusals, scores, every outcome written down.

The ratio is placement to floor. `one` is how long a round for a single new deployment takes.
"""

from __future__ import annotations

import argparse
import time
from random import Random

import numpy as np

from fogbank.domain import events as ev
from fogbank.placement import Planner
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec

REGIONS = ("us-east", "us-central", "us-west")
SEED = 1


def a_waiting_fleet(nodes: int, deployments: int) -> tuple[LittleLog, Planner]:
    """Return a fleet with room for everything that waits."""
    log, planner, chance = LittleLog(), Planner(), Random(SEED)
    for number in range(nodes):
        host = a_fingerprint(cpu=64_000, memory=131_072, region=chance.choice(REGIONS))
        planner.fold(log.connect(f"fog-{number}", host)[1])
    for number in range(deployments):
        spec = a_spec(
            f"d{number}",
            chance.randrange(1, 4),
            cpu=chance.randrange(100, 900),
            memory=chance.randrange(64, 1000),
            storage=1,
            region=chance.choice(REGIONS),
        )
        planner.fold(log.deploy(spec)[1])
    return log, planner


def decide_all(log: LittleLog, planner: Planner) -> int:
    """Decide until nothing is left; return how many replicas were placed."""
    placed = 0
    while (decided := planner.decide(log.now_us)) is not None:
        planner.fold(log.round(decided.event))
        placed += sum(
            len(outcome.placements)
            for outcome in decided.event.outcomes
            if isinstance(outcome, ev.DeploymentPlaced)
        )
    return placed


def floor_rate(nodes: int, replicas: int) -> float:
    """Return replicas a second of a plain argmax loop."""
    scores = np.random.default_rng(SEED).integers(0, 1_000, nodes)
    began_s = time.perf_counter()
    for _ in range(replicas):
        scores[int(np.argmax(scores))] -= 1
    return replicas / (time.perf_counter() - began_s)


def one_round_ms(log: LittleLog, planner: Planner, times: int = 20) -> float:
    """Return how long deciding on one new deployment takes, in milliseconds, at the median."""
    took_s = []
    for number in range(times):
        planner.fold(log.deploy(a_spec(f"single-{number}"))[1])
        began_s = time.perf_counter()
        decided = planner.decide(log.now_us)
        took_s.append(time.perf_counter() - began_s)
        assert decided is not None
        planner.fold(log.round(decided.event))
    return sorted(took_s)[times // 2] * 1_000


def measure(nodes: int, deployments: int) -> None:
    log, planner = a_waiting_fleet(nodes, deployments)
    began_s = time.perf_counter()
    placed = decide_all(log, planner)
    rate = placed / (time.perf_counter() - began_s)
    assert not planner.agenda.active
    floor = floor_rate(nodes, placed)
    print(
        f"{nodes:>6} nodes  {placed:>6} replicas  placement {rate:>8,.0f}/s  "
        f"floor {floor:>9,.0f}/s  ratio {rate / floor:.3f}  one {one_round_ms(log, planner):.2f} ms"
    )


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--deployments", type=int, default=2_000)
    given = parser.parse_args(arguments)
    for nodes in given.nodes:
        measure(nodes, given.deployments)


if __name__ == "__main__":
    main()
