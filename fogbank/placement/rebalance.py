"""Rebalances: running replicas move to where the fleet is worth more for it, on request only.

Only what runs and is well moves, of deployments at rest, like off a draining node: a successor
takes the slot, and its predecessor runs on until that serves. So many move at once as was asked
for, and of one deployment as the policy says. Every move gains at least what was asked for,
measured on what the fleet will be once all that leaves has left, so that one rebalance after
another leads to a state in which none finds anything to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from fogbank.domain import events as ev
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.gpus import choose_devices, taken
from fogbank.domain.rebalance_status import active_rebalance, moving
from fogbank.domain.rebalancing import PlannedMove, RebalancePlan, RebalanceTerms
from fogbank.domain.rollouts import as_wanted, is_available, is_rolling, wanted_revision
from fogbank.domain.states import ReplicaState, RestartPolicy
from fogbank.domain.tenancy import use_of
from fogbank.placement.agenda import Agenda, Look
from fogbank.placement.arrays import FleetArrays, Integers, amounts
from fogbank.placement.devices import choice
from fogbank.placement.evacuations import leaving_of
from fogbank.placement.filters import feasible_nodes
from fogbank.placement.needs import need_of
from fogbank.placement.placements import MOST_NAMES, occupied_rows, placements_on
from fogbank.placement.strategies import STRATEGIES, best_rows, score, strategy_name
from fogbank.placement.weighing import Move, Weighing
from fogbank.placement.work import Work
from fogbank.placement.worth import Kind, Piece, Stand

_BEST_SHOWN = 5
_STEPS_PLANNED = 20


def rebalance(fleet: FleetState, work: Work) -> Iterator[list[ev.Outcome]]:
    """Move replicas for the request that is in force, or end it when nothing is left to gain.

    Where the round decides other moves already, the next one goes on: gains are weighed on what is.
    """
    asked = active_rebalance(fleet)
    if asked is None or work.outcomes:
        return
    done = fleet.decisions.rebalance.of(asked.position)
    budget, under_way = asked.budget - len(done.moved), moving(fleet)
    at_most = min(budget, asked.at_once - under_way, work.budget)
    fits = _Fits(fleet, work)
    try:
        moves = _moves(fleet, work, fits, at_most, asked.min_gain) if at_most > 0 else []
    except Exception as error:  # noqa: BLE001  what is not understood ends, and the rest goes on
        work.errors.append((f"rebalance at {asked.position}", error))
        yield [ev.RebalanceEnded(asked.position, f"weighing moves failed: {type(error).__name__}")]
        return
    for move in moves:
        yield [_carried_out(fleet, work, move, asked.position)]
    if moves:
        return
    if under_way or fits.held_up:
        # What leaves makes room when it is gone, and then there is another look.
        work.looked_in_vain.add(_look(asked.position))
    else:
        reason = f"no move gains {asked.min_gain} or more points"
        if budget <= 0:
            reason = f"all moves that it may make are made: {asked.budget}"
        yield [ev.RebalanceEnded(asked.position, reason)]


def rebalance_due_us(fleet: FleetState, agenda: Agenda) -> int | None:
    """Return 0 while a rebalance may have something to do."""
    asked = active_rebalance(fleet)
    if asked is None or agenda.in_vain(_look(asked.position), fleet.room_sequence):
        return None
    return 0


def _look(request: int) -> Look:
    return Look("rebalance", number=request)


class _Candidates:
    """Who of a fleet may move, as far as somebody asked.

    Where a deployment's replicas are, and where any of them broke, others of it do not move.
    """

    def __init__(self, fleet: FleetState, arrays: FleetArrays) -> None:
        self._fleet = fleet
        self._arrays = arrays
        self._at_once = fleet.facts.policy.disruption.moves_at_once
        self._spare: dict[str, int] = {}
        self._taken: dict[str, set[int]] = {}
        self._broke: dict[str, set[int]] = {}

    def spare(self, piece: Piece) -> int:
        """Return how many of a replica's deployment may move now; 0 if it may not itself."""
        spare = self._spare.get(piece.deployment_id)
        if spare is None:
            spare = self._spare[piece.deployment_id] = self._look_at(piece.deployment_id)
        return spare if spare and _may_move(self._fleet, piece) else 0

    def _look_at(self, deployment_id: str) -> int:
        fleet, deployment = self._fleet, self._fleet.facts.deployments[deployment_id]
        spare = self._at_once - leaving_of(fleet, deployment_id)
        if spare <= 0 or not _rests(fleet, deployment):
            return 0
        apart = not deployment.spec.allow_colocation
        rows = occupied_rows(fleet, self._arrays, deployment_id) if apart else []
        self._taken[deployment_id] = set(rows)
        self._broke[deployment_id] = _broke_on(fleet, self._arrays, deployment)
        return spare

    def closed(self, piece: Piece) -> set[int]:
        """Return the nodes that a replica which may move may not move to."""
        return self._taken[piece.deployment_id] | self._broke[piece.deployment_id]

    def moved(self, piece: Piece, row: int) -> None:
        """Take in that a replica is on another node now."""
        taken = self._taken[piece.deployment_id]
        if taken:
            taken.discard(piece.row)
            taken.add(row)


def _broke_on(fleet: FleetState, arrays: FleetArrays, deployment: DeploymentFact) -> set[int]:
    """Return the nodes on which a replica of a deployment broke."""
    placements = fleet.decisions.placements
    return {
        row
        for replica_id in fleet.decisions.of(deployment.id).replica_ids
        if (observed := fleet.observed(placements[replica_id])) is not None
        and observed.final
        and observed.state in {ReplicaState.FAILED, ReplicaState.REJECTED}
        and (row := arrays.row(placements[replica_id].node_id)) is not None
    }


def _rests(fleet: FleetState, deployment: DeploymentFact) -> bool:
    """Tell whether nothing is to be done about a deployment, and its replicas bear a restart."""
    decision = fleet.decisions.of(deployment.id)
    if deployment.deleted or decision.failed_version == deployment.version or decision.deferred:
        return False
    if deployment.spec.restart is not RestartPolicy.ALWAYS or is_rolling(fleet, deployment):
        return False
    if strategy_name(deployment.spec, fleet.facts.policy) not in STRATEGIES:
        return False  # another release's
    need = need_of(fleet, deployment)
    return not (need.unwanted or need.vacant or need.returned or need.relieved)


def _may_move(fleet: FleetState, piece: Piece) -> bool:
    """Tell whether a replica runs, is well and has its slot to itself; drains see to their own."""
    placed = fleet.decisions.placements[piece.replica_id]
    decision = fleet.decisions.of(piece.deployment_id)
    return (
        decision.slots.get(placed.slot) == placed.id
        and placed.slot not in decision.leaving
        and placed.node_id not in fleet.facts.draining
        and is_available(fleet, placed)
    )


class _Fits:
    """Tells where one more of a kind fits, and on which devices.

    It is `held_up` where too many replicas are to stop first on a node.
    """

    def __init__(self, fleet: FleetState, work: Work) -> None:
        self._fleet = fleet
        self._room = work.room
        self._crowded: dict[Kind, list[int]] = {}
        self.held_up = False

    def __call__(self, row: int, kind: Kind) -> tuple[int, ...] | None:
        crowded = self._crowded.get(kind)
        if crowded is None:
            crowded = self._crowded[kind] = self._room.crowded(kind.column, MOST_NAMES)
        if row in crowded:
            self.held_up = True
            return None
        gpu = kind.ask.gpu_thousandths
        return choice(self._fleet, self._room.arrays, row, gpu) if gpu else ()


def _moves(fleet: FleetState, work: Work, fits: _Fits, at_most: int, min_gain: int) -> list[Move]:
    arrays = work.room.arrays
    weighing = Weighing(Stand(fleet, arrays), work.room.booked, fits, _Candidates(fleet, arrays))
    return weighing.best(at_most, min_gain)


def _carried_out(fleet: FleetState, work: Work, move: Move, request: int) -> ev.DeploymentPlaced:
    """Place the successor of a replica that moves, taking the room."""
    piece, room = move.piece, work.room
    deployment = as_wanted(fleet, fleet.facts.deployments[piece.deployment_id])
    spec, ask = deployment.spec, amounts(deployment.spec.resources)
    occupied = occupied_rows(fleet, room.arrays, deployment.id, (piece.slot,))
    filtered = feasible_nodes(room.arrays, room.booked, spec, ask, occupied)
    scores = score(room.arrays, room.booked, ask, spec, fleet.facts.policy)
    considered = ev.Considered(
        room.arrays.size,
        filtered.count,
        filtered.refusals,
        tuple(
            (room.arrays.ids[row], int(scores[row]))
            for row in best_rows(scores, filtered.feasible, _BEST_SHOWN)
        ),
    )
    chosen = [(move.row, int(scores[move.row]))]
    room.take([move.row], ask[:, 0].tolist())
    room.take_quota(spec.cluster_id, use_of(spec.resources, 1))
    (placement,) = placements_on(fleet, room, deployment, [piece.slot], chosen)
    return ev.DeploymentPlaced(
        deployment.id,
        deployment.version,
        spec.resources,
        (placement._replace(replaces=piece.replica_id),),
        considered,
        wanted_revision(fleet, deployment),
        rebalance=request,
        gain=move.gain,
    )


def plan_rebalance(fleet: FleetState, arrays: FleetArrays, terms: RebalanceTerms) -> RebalancePlan:
    """Return what a rebalance would do now if each step of it were over before the next begins."""
    *_, plan = planned_so_far(fleet, arrays, terms)
    return plan


def planned_so_far(
    fleet: FleetState, arrays: FleetArrays, terms: RebalanceTerms
) -> Iterator[RebalancePlan]:
    """Yield what is planned after each step; the last is the whole plan.

    A step has as many moves as there are at their best without touching the same node, however many
    are carried out at once: the deciding goes on meanwhile, and a plan must not keep it waiting.
    Who goes on when the fleet has changed plans for two fleets at once.
    """
    arrays = arrays.without_devices_of([])
    stand = Stand(fleet, arrays)
    booked = arrays.booked.copy()
    candidates = _Candidates(fleet, arrays)

    def devices(row: int, kind: Kind) -> tuple[int, ...] | None:
        gpu = kind.ask.gpu_thousandths
        free = arrays.gpu_free[:, row].tolist()
        return choose_devices(free, free, gpu) if gpu else ()

    weighing = Weighing(stand, booked, devices, candidates)
    replicas = sum(map(len, stand.pieces))
    before = after = stand.worth()
    planned: list[PlannedMove] = []
    complete = False
    for _ in range(_STEPS_PLANNED):
        at_most = terms.budget - len(planned)
        step = weighing.best(at_most, terms.min_gain) if at_most else []
        complete = at_most > 0 and not step
        if not step:
            break
        for move in step:
            planned.append(_planned(fleet, arrays, move))
            _rebook(arrays, booked, move)
            candidates.moved(move.piece, move.row)
            stand.move(move.piece, move.row, move.devices)
        after += sum(move.gain for move in step)
        yield RebalancePlan(tuple(planned), replicas, before, after, complete=False)
    yield RebalancePlan(tuple(planned), replicas, before, after, complete)


def _rebook(arrays: FleetArrays, booked: Integers, move: Move) -> None:
    """Book a move as if it were over, on columns of one's own."""
    piece, gpu_free = move.piece, arrays.gpu_free
    for row, devices, times in ((piece.row, piece.devices, -1), (move.row, move.devices, 1)):
        booked[:, row] += times * piece.kind.column[:, 0]
        for device, amount in taken(devices, piece.kind.ask.gpu_thousandths):
            if device < gpu_free.shape[0]:
                gpu_free[device, row] -= times * amount


def _planned(fleet: FleetState, arrays: FleetArrays, move: Move) -> PlannedMove:
    piece = move.piece
    return PlannedMove(
        piece.deployment_id,
        fleet.facts.deployments[piece.deployment_id].spec.name,
        piece.slot,
        piece.replica_id,
        arrays.ids[piece.row],
        arrays.names[piece.row],
        arrays.ids[move.row],
        arrays.names[move.row],
        move.score_before,
        move.score_after,
        move.gain,
    )
