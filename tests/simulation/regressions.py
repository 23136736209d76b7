"""Seeds that failed once, with what was wrong then: (profile, seed, what it found).

A change of the workload moves what a seed stands for; a seed that no longer leads there may go.
"""

from tests.simulation.plan import Profile

REGRESSIONS: tuple[tuple[Profile, int, str], ...] = (
    (
        "usual",
        10193,
        "most of a region is silent for good: its guard gives the nodes up one after the other",
    ),
)
