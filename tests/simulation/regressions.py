"""Seeds that failed once, with what was wrong then: (profile, seed, what it found).

A change of the workload moves what a seed stands for; a seed that no longer leads there may go.
"""

from tests.simulation.plan import Profile

REGRESSIONS: tuple[tuple[Profile, int, str], ...] = (
    ("changes", 7, "a leaving replica was restored on a silent node"),
    ("changes", 15, "others were evicted beside what the same rollout let go"),
    ("changes", 102, "two successors of one round on one node"),
)
