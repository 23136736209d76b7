"""How many nodes each region has: counted as nodes come, change and are removed."""

from __future__ import annotations

from dataclasses import dataclass, field

from fogbank.domain.facts import NodeFact


@dataclass(slots=True)
class RegionSizes:
    """The nodes that were not removed, counted by region."""

    _region_of: dict[str, str] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many nodes there are in all."""
        return len(self._region_of)

    def put(self, node: NodeFact) -> None:
        """Count a node as it is now, in place of how it was counted before."""
        before = self._region_of.pop(node.id, None)
        if before is not None:
            self._sizes[before] -= 1
        if not node.removed:
            region = self._region_of[node.id] = node.fingerprint.region
            self._sizes[region] = self._sizes.get(region, 0) + 1

    def size(self, region: str) -> int:
        """Return how many nodes a region has."""
        return self._sizes.get(region, 0)
