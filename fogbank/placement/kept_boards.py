"""The boards that are kept, by kind of ask: those that were asked for last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.policy import Policy, Ties
from fogbank.placement.bases import Bases
from fogbank.placement.boards import Board
from fogbank.placement.strategies import Strategy, strategy_of

if TYPE_CHECKING:
    from fogbank.placement.room import Room

# No more rows than that are kept in all, nor more boards: a board of few nodes takes room as well.
_ROWS_KEPT = 4_000_000
_BOARDS_KEPT = 512


class Boards:
    """The boards of a room, by kind of ask; of those the ones that were asked for last."""

    def __init__(self, room: Room) -> None:
        """Begin with none."""
        self._room = room
        self._policy: Policy | None = None
        self._boards: dict[object, Board] = {}
        self._bases: dict[str, Bases] = {}

    def board(self, spec: DeploymentSpec, policy: Policy) -> Board | None:
        """Return the board of an ask, up to date; None where ties do not go by the stable order."""
        if policy is not self._policy:
            self._policy = policy
            self._boards.clear()
            self._bases.clear()
        strategy = strategy_of(spec, policy)
        if (strategy.ties or policy.ties) is not Ties.ORDER:
            return None
        asked = spec.resources
        kind = (
            asked.cpu_millicores,
            asked.memory_mib,
            asked.storage_gib,
            asked.gpu_thousandths,
            spec.region,
            spec.constraints,
            spec.gpu_model,
            spec.cluster_id,
            strategy.name,
            tuple(sorted(spec.labels.items())) if strategy.reads_labels else (),
        )
        board = self._boards.pop(kind, None)
        if board is None:
            most = max(_ROWS_KEPT // max(self._room.arrays.size, 1), 8)
            if len(self._boards) >= min(most, _BOARDS_KEPT):
                del self._boards[next(iter(self._boards))]
            board = Board(self._room, spec, policy)
        self._boards[kind] = board
        board.refresh()
        return board

    def bases(self, strategy: Strategy) -> Bases | None:
        """Return what nodes are worth before anything is asked, where a strategy's terms allow."""
        if strategy.of_one is None or self._policy is None:
            return None
        known = self._bases.get(strategy.name)
        if known is None:
            total = strategy.of_one(self._policy)
            known = self._bases[strategy.name] = Bases(self._room, total, strategy.steps)
        return known
