"""Why a decision came out as it did, and what a deployment would lead to: read models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many nodes a filter turned down, and why in a short sentence."""

    filter: str
    nodes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node with its score and the terms that the score is the sum of, by name.

    `score` is that of the decision; `score_now` and the terms are those of the present state.
    """

    node_id: str
    node_name: str
    score: int
    score_now: int
    terms: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """One look at the fleet: refusals and feasible nodes sum to the nodes looked at.

    `best` are the best candidates, at most five; `would_unblock` says for people what would let
    the replicas be placed, and is empty where they are.
    """

    nodes: int = 0
    feasible: int = 0
    refusals: tuple[Refusal, ...] = ()
    best: tuple[Candidate, ...] = ()
    would_unblock: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedEviction:
    """Replicas of a deployment that would give way; no name where the caller may not see it."""

    deployment_id: str
    replica_ids: tuple[str, ...]
    deployment_name: str = ""


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What a deployment would lead to; `error` is empty if all its replicas would be placed.

    `scheduled` names a node for each replica, `preempted` what would be evicted,
    `available_nodes` how many nodes have room for a replica.
    """

    error: str
    available_nodes: int
    scheduled: tuple[Candidate, ...]
    preempted: tuple[PlannedEviction, ...]
    explanation: Explanation

    @property
    def placeable(self) -> bool:
        """Tell whether all replicas would be placed."""
        return not self.error


@dataclass(frozen=True, slots=True)
class PlacingRound:
    """A round that placed replicas which a deployment has now: when, and in which slots."""

    sequence: int
    instant_us: int
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeploymentExplanation:
    """Where a deployment stands and why.

    `explanation` is of the latest decision, made by the round at `decided_sequence`; before the
    first it is of the present state, and the sequence 0. `now` is a look at the present state for
    replicas that have no node; None if all have. `rounds` are those that placed the replicas there
    are, newest first: `explanation` is of one of them at most.
    """

    summary: str
    explanation: Explanation
    decided_sequence: int
    now: Explanation | None = None
    rounds: tuple[PlacingRound, ...] = ()
