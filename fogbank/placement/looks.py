"""One look at one deployment: find nodes for all its vacant slots, or say why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from fogbank.domain.rollouts import wanted_revision
from fogbank.domain.tenancy import use_of
from fogbank.placement.absent_images import turned_down
from fogbank.placement.agenda import shape_of
from fogbank.placement.arrays import FleetArrays, amounts
from fogbank.placement.boards import Board
from fogbank.placement.devices import choose
from fogbank.placement.filters import APART, CROWDED, feasible_nodes, too_large_for_any
from fogbank.placement.needs import Wait, patient
from fogbank.placement.penalties import penalties
from fogbank.placement.placements import MOST_NAMES, occupied_rows, placements_on
from fogbank.placement.preemption import preempt
from fogbank.placement.quotas import fitting_quota, refused_by_quota
from fogbank.placement.room import Room, Shortage
from fogbank.placement.strategies import best_rows, score, tie_breaker
from fogbank.placement.work import Work

NO_NODES = "No available nodes"
_BEST_SHOWN = 5
_MS = 1_000


def _absent_image_gate(
    fleet: FleetState, _work: Work, deployment: DeploymentFact, _slots: tuple[int, ...]
) -> Shortage | None:
    """Turn a deployment down for good that nodes turned down."""
    reason = turned_down(fleet, deployment)
    return Shortage(reason, 0, ev.Considered(), hopeless=True) if reason else None


# Asked in this order before nodes are looked for: each may turn a deployment down. What can't be
# had at all comes before what is too much for now.
_Gate = Callable[[FleetState, Work, DeploymentFact, tuple[int, ...]], Shortage | None]
GATES: tuple[_Gate, ...] = (_absent_image_gate,)

# Asked in this order when there was no room: each may make some, or say of the shortage more.
_Rescue = Callable[
    [FleetState, Work, DeploymentFact, tuple[int, ...], Shortage],
    ev.DeploymentPlaced | Shortage | None,
]
RESCUES: tuple[_Rescue, ...] = (preempt,)


def look(
    fleet: FleetState, work: Work, deployment: DeploymentFact, slots: tuple[int, ...]
) -> ev.DeploymentPlaced | Shortage:
    """Find room for all given slots of a deployment and take it, or say why there is none."""
    for gate in GATES:
        shortage = gate(fleet, work, deployment, slots)
        if shortage is not None:
            return shortage
    refused = refused_by_quota(fleet, work.room, deployment.spec, len(slots))
    found = refused or place(fleet, work.room, deployment, slots, work.instant_us)
    if isinstance(found, Shortage):
        for rescue in RESCUES:
            rescued = rescue(fleet, work, deployment, slots, found)
            if rescued is not None:
                return rescued
        decision = fleet.decisions.deployments.get(deployment.id)
        if decision is None or not decision.replica_ids:  # no node was closed by its own
            quota_of = deployment.spec.cluster_id if found.quota else 0
            work.no_room_for(shape_of(deployment), len(slots), quota_of)
    return found


def fill(
    fleet: FleetState, work: Work, deployment: DeploymentFact, slots: tuple[int, ...]
) -> ev.DeploymentPlaced | Shortage:
    """Find room for the vacant slots of a deployment: for all, or for some that it had before.

    What is placed first, or added by its author, is placed together or not at all. A slot whose
    replica was lost, failed or gave way is filled as soon as there is room for it alone: what
    runs of a deployment must not shrink because not all of it fits.
    """
    found = look(fleet, work, deployment, slots)
    if not isinstance(found, Shortage) or found.hopeless or found.unsettled:
        return found
    decision = fleet.decisions.deployments.get(deployment.id)
    generations = decision.generations if decision is not None else {}
    before = tuple([slot for slot in slots if slot in generations])
    if not before or len(slots) == 1:
        return found
    count = fitting_quota(fleet, work.room, deployment.spec, len(before))
    some: ev.DeploymentPlaced | Shortage = found
    if count:
        some = place(fleet, work.room, deployment, before[:count], work.instant_us, at_least=1)
    if isinstance(some, Shortage):
        some = look(fleet, work, deployment, before[:1])  # others may give way for one
    return found if isinstance(some, Shortage) and not some.unsettled else some


def place(
    fleet: FleetState,
    room: Room,
    deployment: DeploymentFact,
    slots: tuple[int, ...],
    instant_us: int,
    *,
    at_least: int = 0,
    barred: int | None = None,
) -> ev.DeploymentPlaced | Shortage:
    """Place all given slots of a deployment, taking the room, or none and say why.

    With `at_least` so many of them will do, the first ones, if there is no room for more. Of one
    slot, a node may be `barred` to it, by row.
    """
    arrays, spec = room.arrays, deployment.spec
    count = len(slots)
    if arrays.empty:
        return Shortage(NO_NODES, 0, ev.Considered(), no_nodes=True)
    board = room.boards.board(spec, fleet.facts.policy)
    ask = amounts(spec.resources) if board is None else board.ask
    # So that no outcome names more of those that stop than a commit has room for.
    most = MOST_NAMES // (spec.replicas if at_least else count)
    crowded = room.crowded(ask, most)
    occupied = occupied_rows(fleet, arrays, deployment.id, slots)
    occupied += room.successors.get(deployment.id, ())
    if barred is not None:
        occupied = [barred] if spec.allow_colocation else [*occupied, barred]
        spec = replace(spec, allow_colocation=False)
    lost = penalties(fleet, arrays, deployment, instant_us)
    # Whoever loses something makes room for one more at most among the best.
    wanted = max(count, _BEST_SHOWN) + len(lost)
    if board is not None:
        chosen = _from_board(room, board, spec, occupied, wanted, crowded=crowded)
    else:
        chosen = _among_all(fleet, room, deployment, occupied, wanted, crowded=crowded)
    if lost:
        chosen = _penalised(chosen, arrays.ids, lost)
    best, considered = chosen.best[:count], chosen.considered
    rows = [row for row, _ in best]
    if len(rows) == count and board is not None:
        board.take(rows)
    else:
        if len(rows) < count and spec.allow_colocation:
            rows = _stacked(fleet, room, deployment, count, lost, most=most)
            best = [(row, chosen.score(row)) for row in rows]
        if len(rows) < (at_least or count):
            # Told of whatever nodes there are: until room appears there are no fewer of these.
            on_one = ask * count if spec.allow_colocation else ask
            passing = bool(room.crowded(on_one, most))
            return _shortage(arrays, spec, count, considered, passing=passing)
        for row in rows:
            room.take([row], ask[:, 0].tolist())
    room.take_quota(spec.cluster_id, use_of(spec.resources, len(rows)))
    return ev.DeploymentPlaced(
        deployment.id,
        deployment.version,
        spec.resources,
        placements_on(fleet, room, deployment, slots[: len(best)], best),
        considered,
        wanted_revision(fleet, deployment),
    )


class _Choice(NamedTuple):
    """The best nodes for one replica each, as rows with their scores, and the score of any row."""

    best: list[tuple[int, int]]
    score: Callable[[int], int]
    considered: ev.Considered


def _from_board(
    room: Room,
    board: Board,
    spec: DeploymentSpec,
    occupied: list[int],
    count: int,
    *,
    crowded: list[int],
) -> _Choice:
    """Read the best nodes off a board."""
    apart = (
        [row for row in dict.fromkeys(occupied) if board.feasible(row)]
        if occupied and not spec.allow_colocation
        else []
    )
    full = [row for row in crowded if row not in apart and board.feasible(row)]
    closed = apart + full
    best = board.best(count, closed)
    refusals = board.refusals
    size = room.arrays.size
    feasible = size - len(closed)
    for _, refused in refusals:
        feasible -= refused
    refusals += [(name, len(rows)) for name, rows in ((APART, apart), (CROWDED, full)) if rows]
    shown = _named(best, room.arrays.ids)
    return _Choice(best, board.score, ev.Considered(size, feasible, tuple(refusals), shown))


def _named(best: list[tuple[int, int]], ids: Sequence[str]) -> tuple[tuple[str, int], ...]:
    return tuple([(ids[row], points) for row, points in best[:_BEST_SHOWN]])


def _among_all(
    fleet: FleetState,
    room: Room,
    deployment: DeploymentFact,
    occupied: list[int],
    count: int,
    *,
    crowded: list[int],
) -> _Choice:
    """Filter and score all nodes anew."""
    arrays, spec, policy = room.arrays, deployment.spec, fleet.facts.policy
    ask = amounts(spec.resources)
    filtered = feasible_nodes(arrays, room.booked, spec, ask, occupied, crowded_rows=crowded)
    scores = score(arrays, room.booked, ask, spec, policy)
    ties = tie_breaker(arrays, fleet.decisions.prev_digest, deployment.id, spec, policy)
    rows = best_rows(scores, filtered.feasible, count, ties)
    best = list(zip(rows, scores[rows].tolist(), strict=True))
    shown = _named(best, arrays.ids)
    considered = ev.Considered(arrays.size, filtered.count, filtered.refusals, shown)
    return _Choice(best, lambda row: int(scores[row]), considered)


def _penalised(chosen: _Choice, ids: Sequence[str], lost: dict[int, int]) -> _Choice:
    """Return the best nodes anew, with what some of them lose; of equals those that lose none."""
    best = [(row, points - lost.get(row, 0)) for row, points in chosen.best]
    best.sort(key=lambda each: (-each[1], each[0] in lost))
    considered = replace(chosen.considered, best=_named(best, ids))
    return _Choice(best, lambda row: chosen.score(row) - lost.get(row, 0), considered)


def _stacked(
    fleet: FleetState,
    room: Room,
    deployment: DeploymentFact,
    count: int,
    lost: dict[int, int],
    *,
    most: int,
) -> list[int]:
    """Choose nodes one replica at a time, several on a node where they fit.

    None of them is to start after more than `most` others.
    """
    policy, spec = fleet.facts.policy, deployment.spec
    ask = amounts(spec.resources)
    ties = tie_breaker(room.arrays, fleet.decisions.prev_digest, deployment.id, spec, policy)
    booked = room.booked.copy()
    gpu, before = spec.resources.gpu_thousandths, room.arrays.gpu_free.copy()
    rows: list[int] = []
    while len(rows) < count:
        crowded = room.crowded(ask, most, booked)
        filtered = feasible_nodes(room.arrays, booked, spec, ask, [], crowded_rows=crowded)
        scores = score(room.arrays, booked, ask, spec, policy)
        for row, points in lost.items():
            scores[row] -= points
        best = best_rows(scores, filtered.feasible, 1, ties)
        if not best:
            break
        booked[:, best[0]] += ask[:, 0]
        if gpu:
            choose(fleet, room.arrays, best[0], gpu)
        rows += best
    room.arrays.return_devices(before)
    return rows


def _shortage(
    arrays: FleetArrays,
    spec: DeploymentSpec,
    count: int,
    considered: ev.Considered,
    *,
    passing: bool,
) -> Shortage:
    if too_large_for_any(arrays, amounts(spec.resources)):
        return Shortage(_impossible(arrays, spec.resources), 0, considered, impossible=True)
    found = considered.feasible
    reason = f"Insufficient nodes: need {count}, found {found} with capacity"
    if passing:
        reason += "; on others too many replicas still stop"
    return Shortage(reason, found, considered, passing=passing)


def _impossible(arrays: FleetArrays, asked: Resources) -> str:
    largest = arrays.allocatable.max(axis=1)
    return (
        "Impossible: no node is large enough for a replica of "
        f"{asked.cpu_millicores} millicores, {asked.memory_mib} MiB memory, "
        f"{asked.storage_gib} GiB storage and {asked.gpu_thousandths} thousandths of a GPU; "
        f"the most that nodes have is {largest[0]}, {largest[1]}, {largest[2]} and {largest[3]}"
    )


def answer_shortage(
    fleet: FleetState,
    deployment: DeploymentFact,
    shortage: Shortage,
    wait: Wait | None,
    instant_us: int,
) -> ev.DeploymentDeferred | ev.DeploymentFailed | None:
    """Say what a look without room leads to; None if it changes nothing.

    Only timed looks before the first placement count as tries. What was placed once, or waits
    for capacity by its author's wish, waits until room appears, for as long as it takes; until
    there is any node, or those that stop have stopped, anything does.
    """
    if wait is not None and wait.at_us is not None and wait.at_us > instant_us:
        return None  # woken by room before its time: it may be placed then, and no more
    if shortage.hopeless:
        return _failed(deployment, shortage)
    decision = fleet.decisions.deployments.get(deployment.id)
    if shortage.no_nodes or shortage.passing or patient(decision, deployment):
        if wait is not None and wait.at_us is None:
            return None
        placed_once = decision is not None and decision.placed_once
        if shortage.impossible and shortage.quota and not placed_once:
            return _failed(deployment, shortage)  # more room on nodes would not help
        return _deferred(deployment, shortage, attempt=0, not_before_us=0)
    if shortage.impossible:
        return _failed(deployment, shortage)
    if wait is not None and wait.at_us is None:
        wait = None  # what it was parked for has come, a node or an end, and its tries begin
    attempt = (wait.attempt if wait else 0) + 1
    backoff_ms = fleet.facts.policy.retry_backoff_ms
    if attempt > len(backoff_ms):
        return _failed(deployment, shortage)
    not_before_us = instant_us + backoff_ms[attempt - 1] * _MS
    return _deferred(deployment, shortage, attempt, not_before_us)


def _deferred(
    deployment: DeploymentFact, shortage: Shortage, attempt: int, not_before_us: int
) -> ev.DeploymentDeferred:
    return ev.DeploymentDeferred(
        deployment.id,
        deployment.version,
        attempt,
        not_before_us,
        shortage.reason,
        shortage.considered,
    )


def _failed(deployment: DeploymentFact, shortage: Shortage) -> ev.DeploymentFailed:
    return ev.DeploymentFailed(
        deployment.id,
        deployment.version,
        shortage.reason,
        shortage.available,
        shortage.considered,
    )
