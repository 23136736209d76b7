"""Rebalances: what operators ask for, what rounds did about it, and how plans and states look.

A gain is counted in points: a replica is worth at most 1,000 of them, namely the best score that
its strategy gives. What a fleet is worth is the sum over its replicas.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

# What a replica is worth where its strategy gives the best score.
MOST_POINTS = 1_000


@dataclass(frozen=True, slots=True)
class RebalanceTerms:
    """How much a rebalance may do: moves in all, least gain of one in points, moves at a time."""

    budget: int
    min_gain: int
    at_once: int


@dataclass(frozen=True, slots=True)
class RebalanceFact:
    """The last request; `position` is its place in the log, and its name."""

    position: int
    requested_at_us: int
    budget: int
    min_gain: int
    at_once: int


@dataclass(frozen=True, slots=True)
class RebalanceDecision:
    """What rounds did for the request at position `request` (0 for none yet).

    `moved` are the replicas that took over from others, `gained` is the sum of the moves' gains.
    """

    request: int = 0
    moved: tuple[str, ...] = ()
    gained: int = 0
    ended: bool = False
    reason: str = ""

    def of(self, request: int) -> RebalanceDecision:
        """Return what was done for a request: for another than the last one nothing."""
        return self if self.request == request else RebalanceDecision(request)

    def moved_on(self, request: int, replica_ids: tuple[str, ...], gain: int) -> RebalanceDecision:
        """Return it with more replicas moved."""
        before = self.of(request)
        return RebalanceDecision(request, before.moved + replica_ids, before.gained + gain)

    def ended_by(self, request: int, reason: str) -> RebalanceDecision:
        """Return it at its end."""
        before = self.of(request)
        return RebalanceDecision(request, before.moved, before.gained, ended=True, reason=reason)


class RebalancePhase(IntEnum):
    """How far a rebalance is; the numbers are the contract's."""

    NONE = 1
    MOVING = 2
    ENDED = 3
    STOPPED = 4


@dataclass(frozen=True, slots=True)
class RebalanceView:
    """How far the last rebalance is, as of a log sequence; points as above.

    Of `moved` replicas `moving` still wait to be relieved by their successors.
    """

    phase: RebalancePhase
    terms: RebalanceTerms
    requested_at_us: int
    moved: int
    moving: int
    gained: int
    message: str
    as_of_sequence: int


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One move: a replica, where it is and would be, its scores there, and the fleet's gain."""

    deployment_id: str
    deployment_name: str
    slot: int
    replica_id: str
    from_node_id: str
    from_node_name: str
    to_node_id: str
    to_node_name: str
    score_before: int
    score_after: int
    gain: int


@dataclass(frozen=True, slots=True)
class RebalancePlan:
    """What a rebalance would do now if each step were over before the next; worths in points.

    `complete` tells that more budget would lead to no further move.
    """

    moves: tuple[PlannedMove, ...]
    replicas: int
    worth_before: int
    worth_after: int
    complete: bool
