"""What a fleet's state forgets: deployments that were deleted long ago, with all their replicas.

Of the others it forgets replicas that ended and whose slots went to others long ago. Rounds forget,
each by its own instant: so all who fold the same log forget the same after the same commit. What is
forgotten stays in the log, and deployments in the ledger's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from heapq import heappop, heappush

from fogbank.domain.decisions import Decisions, DeploymentDecision, PlacedReplica
from fogbank.domain.ends import ever_started, is_broken, proven_us, ran_ms
from fogbank.domain.facts import DeploymentFact, Facts
from fogbank.domain.ids import replica_id
from fogbank.domain.remembered import Remembered

_WEEK_US = 7 * 24 * 3600 * 1_000_000

# For so long, from its deletion in log time to a round's instant, a deployment is remembered.
KEPT_DELETED_US = _WEEK_US

# Rounds of earlier engines forget nothing: what they led to, and its digests, stays as it was.
FORGETTING_ENGINE = 4

# Who is shown each deployment that is about to be forgotten.
Shown = Callable[[DeploymentFact], object]

# Tells whether a replica has ended.
Ended = Callable[[PlacedReplica], bool]


def kept_superseded_us(fades_ms: int) -> int:
    """Return for how long a replica that ended is known after its slot got another one.

    For so long after its end a failure may count against its node.
    """
    return max(_WEEK_US, fades_ms * 1_000)


class Over:
    """Deleted deployments of which no replica is left, those that were deleted first first.

    It may also hold some that got a replica since, from a round that crossed the deletion, and
    holds these again once that has ended.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []

    def add(self, deployment: DeploymentFact) -> None:
        """Take in a deployment."""
        heappush(self._waiting, (deployment.deleted_at_us, deployment.id))

    def due(self, engine: int, instant_us: int) -> Iterator[str]:
        """Yield, and let go, those that a round of an engine forgets."""
        if engine < FORGETTING_ENGINE:
            return
        while self._waiting and instant_us - self._waiting[0][0] >= KEPT_DELETED_US:
            yield heappop(self._waiting)[1]


class Superseded:
    """Replicas that have ended and whose slots went to others, those that did first first.

    Like `Over` it may hold some that count again, and holds these again once they no longer do.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[int, str]] = []

    def see(self, decisions: Decisions, placed: PlacedReplica, ended: Ended) -> None:
        """Take in a replica, and the one before it, if they have ended and others have the slot."""
        self._add(decisions, placed, ended)
        if placed.generation > 1:
            before_id = replica_id(placed.deployment_id, placed.slot, placed.generation - 1)
            before = decisions.placements.get(before_id)
            if before is not None:
                self._add(decisions, before, ended)

    def _add(self, decisions: Decisions, placed: PlacedReplica, ended: Ended) -> None:
        if ended(placed) and is_superseded(decisions.of(placed.deployment_id), placed):
            heappush(self._waiting, (_superseded_at_us(decisions, placed), placed.id))

    def due(self, engine: int, instant_us: int, fades_ms: int) -> set[str]:
        """Return, and let go, those that a round of an engine forgets.

        By the policy, failures count against nodes for `fades_ms`.
        """
        found: set[str] = set()
        if engine < FORGETTING_ENGINE:
            return found
        until_us = instant_us - kept_superseded_us(fades_ms)
        while self._waiting and self._waiting[0][0] <= until_us:
            found.add(heappop(self._waiting)[1])
        return found


def is_superseded(decision: DeploymentDecision, placed: PlacedReplica) -> bool:
    """Tell whether a later replica got the slot of one, which no longer counts for it."""
    slot = placed.slot
    return placed.generation < decision.generations.get(slot, 0) and placed.id not in {
        decision.slots.get(slot),
        decision.leaving.get(slot),
    }


def _superseded_at_us(decisions: Decisions, placed: PlacedReplica) -> int:
    """Return when a replica's slot got the next one; 0 if that is forgotten."""
    next_id = replica_id(placed.deployment_id, placed.slot, placed.generation + 1)
    following = decisions.placements.get(next_id)
    return following.placed_at_us if following is not None else 0


def forget_replicas(facts: Facts, decisions: Decisions, replica_ids: Iterable[str]) -> None:
    """Forget those of some replicas that are superseded, but for what is still asked of them."""
    placements = decisions.placements
    known = [placements[each] for each in replica_ids if each in placements]
    # What is remembered follows from their order.
    for placed in sorted(known, key=lambda each: (each.deployment_id, each.slot, each.generation)):
        if is_superseded(decisions.of(placed.deployment_id), placed):
            decisions.forget_replica(placed, _remembered(facts, decisions, placed))
            facts.observed.discard((placed.id, placed.node_id))


def _remembered(facts: Facts, decisions: Decisions, placed: PlacedReplica) -> Remembered:
    """Return what is to be remembered of a deployment's replicas without one of them."""
    known = decisions.remembered_of(placed.deployment_id)
    observed = facts.observed.get((placed.id, placed.node_id))
    broke = False
    if observed is not None:
        known = replace(known, started=known.started or ever_started(observed))
        first_ms = facts.policy.reschedule_delay_ms
        broke = is_broken(observed) and ran_ms(observed) <= first_ms
    deployment = facts.deployments.get(placed.deployment_id)
    if deployment is not None:
        kept = {each.number for each in deployment.revisions}
        from_us = proven_us(observed, deployment.spec.rollout.min_healthy_ms)
        known = known.with_good(placed.revision, from_us, kept)
    return known.with_end(placed.slot, placed.generation, broke=broke)
