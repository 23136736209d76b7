"""Which heartbeats are to be answered: those of agents that stop replicas once they are cut off."""

from __future__ import annotations

from fogbank.domain.fleet import FleetState


class Unanswered:
    """The last heartbeat of each node that wants an answer and has none yet."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[int, int]] = {}

    def heard(self, node_id: str, epoch: int, number: int) -> bool:
        """Note a heartbeat, if it has a number; tell whether it is the first that waits."""
        if not number:
            return False
        first = not self._waiting
        self._waiting[node_id] = (epoch, number)
        return first

    def take(self, fleet: FleetState, *, leading: bool) -> list[tuple[str, int, int]]:
        """Return node, epoch and number of what is to be answered, and forget it.

        Only who leads answers, and only nodes in their present epoch that are not offline: of
        others a sign of life does not put off that they are lost.
        """
        waiting, self._waiting = self._waiting, {}
        if not leading:
            return []
        return [
            (node_id, epoch, number)
            for node_id, (epoch, number) in waiting.items()
            if (node := fleet.facts.nodes.get(node_id)) is not None
            and node.epoch == epoch
            and not node.removed
            and fleet.offline_since_us(node) is None
        ]
