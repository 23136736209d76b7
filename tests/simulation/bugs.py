"""All mistakes that can be planted."""

from tests.simulation import bugs_fleet, bugs_record
from tests.simulation.planting import BUGS, planted

__all__ = ["BUGS", "bugs_fleet", "bugs_record", "planted"]
