"""The decision core: which replica goes to which node, and why.

Pure, and the same code for everybody: the scheduler decides with it, and whoever checks the log
derives the same rounds again with it. `ENGINE` is raised whenever any decision would come out
differently.
"""

from fogbank.placement.engine import Decided, Planner
from fogbank.placement.strategies import STRATEGIES
from fogbank.placement.version import ENGINE

__all__ = ["ENGINE", "STRATEGIES", "Decided", "Planner"]
