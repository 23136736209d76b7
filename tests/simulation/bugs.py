"""All mistakes that can be planted, and runs with one of them."""

from contextlib import ExitStack

from tests.simulation import bugs_fleet, bugs_record, bugs_rounds, bugs_sharing
from tests.simulation.plan import Profile
from tests.simulation.planting import BUGS, planted
from tests.simulation.run import Result, run_seed

__all__ = [
    "BUGS",
    "bugs_fleet",
    "bugs_record",
    "bugs_rounds",
    "bugs_sharing",
    "planted",
    "run_planted",
]


def run_planted(seed: int, bug: str | None, profile: Profile = "usual") -> Result:
    """Run a seed, with a mistake in the code if one is named."""
    with ExitStack() as stack:
        if bug:
            stack.enter_context(planted(bug))
        return run_seed(seed, profile)
