"""Which deployments need a round, kept up to date as commits are folded.

Pure bookkeeping over what the log says: whatever is here could be found by looking at every
deployment anew. `looked_in_vain` alone remembers more, and only saves work: what found no room
need not be looked at again before room appeared, or before something of its deployment changed.

What waits for room is kept in groups of equal asks. Room for one is room for all of them, and so
a look in vain at one of them stands for all, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

from fogbank.domain.decisions import DeploymentDecision
from fogbank.domain.deployment import HIGH_PRIORITY_FROM, Constraint
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.resources import Resources
from fogbank.domain.rollouts import is_rolling
from fogbank.placement.needs import NOTHING, Wait, need_of, patient, stalling_from_us, wait_of
from fogbank.placement.queue import Order, QueueKey, WaitingQueue
from fogbank.placement.quotas import limits_of

# What tells for which nodes replicas are fit; with priority and cluster where others may give way.
Shape = tuple[Resources, tuple[Constraint, ...], str, bool, int, int]


class Group(NamedTuple):
    """Equal asks that wait: `vacant` slots at least, and for nodes of one kind.

    `alone` is the deployment's id where nodes may be closed to it by replicas of its own, or where
    a look without room is worth an answer; such a one is a group of its own. `quota_of` is the
    cluster where a quota limits it, else 0.
    """

    shape: Shape
    vacant: int
    alone: str = ""
    quota_of: int = 0


class Look(NamedTuple):
    """A mover's look for room: `what` for, and for which deployment (empty for the fleet).

    One of another `number` takes the place of this one.
    """

    what: str
    deployment_id: str = ""
    number: int = 0

    @property
    def name(self) -> str:
        """What it is called where it raised."""
        return f"{self.what} of {self.deployment_id}"


class InVain(NamedTuple):
    """A look that found nothing: what room it knew of, and when it was made."""

    room_sequence: int
    instant_us: int


_NEVER = InVain(-1, 0)


def shape_of(deployment: DeploymentFact) -> Shape:
    """Return what tells for which nodes a deployment's replicas are fit."""
    spec = deployment.spec
    high = spec.priority >= HIGH_PRIORITY_FROM
    return (
        spec.resources,
        spec.constraints,
        spec.gpu_model,
        spec.allow_colocation,
        spec.priority if high else 0,
        spec.cluster_id if high else 0,
    )


def _group_of(
    fleet: FleetState, decision: DeploymentDecision, deployment: DeploymentFact, wait: Wait
) -> Group:
    """Return with whom a deployment waits for room."""
    vacant = deployment.spec.replicas - len(decision.slots)
    answered = wait.at_us is None and not patient(decision, deployment)
    loner = bool(decision.replica_ids) or answered
    cluster_id = deployment.spec.cluster_id
    quota_of = cluster_id if limits_of(fleet, cluster_id) else 0
    return Group(shape_of(deployment), vacant, deployment.id if loner else "", quota_of)


def rollout_look(deployment_id: str) -> Look:
    """Return a rollout's look for room."""
    return Look("rollout", deployment_id)


class Agenda:
    """Deployments by what they wait for."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self.settling: dict[str, None] = {}
        self.rolling: dict[str, None] = {}
        self.timed: dict[str, int] = {}
        # Those with a replica that has waited too long to be started, and when that was.
        self.stalled: dict[str, int] = {}
        self._stalling: dict[str, int] = {}
        self._stalls: list[tuple[int, str]] = []
        self.parked: dict[str, None] = {}
        # Of parked ones the instants from which further slots may be filled.
        self._ready_us: dict[str, list[int]] = {}
        # Those to look at now: the `active` ones, and the timed ones that are due.
        self._ready = WaitingQueue()
        self._times: list[tuple[int, str]] = []
        self._due: dict[str, None] = {}
        self._due_us = 0
        self._groups: dict[Group, WaitingQueue] = {}
        self._group: dict[str, Group] = {}
        # Groups for which room may have appeared, as of a room sequence.
        self._awake: dict[Group, None] = {}
        self._awake_at = 0
        self._looked_facts_to: dict[Group, int] = {}
        self._in_vain_at: dict[Group, InVain] = {}
        # Silent nodes on which a replica runs, as far as is known, that will count as lost.
        self.losing: dict[str, None] = {}
        # When the first replica on a silent node is lost, once it was reckoned since the last fold.
        self._loss_us: tuple[int | None] | None = None
        # Of movers, by deployment: what becomes of that makes them look again.
        self._looks: dict[str, dict[str, tuple[Look, InVain]]] = {}
        # Whoever more may be noted of than that it is to be looked at now.
        self._filed: set[str] = set()

    @property
    def active(self) -> set[str]:
        """Those to look at now, whatever the time."""
        return {*self._ready} - self._due.keys()

    @property
    def pending(self) -> dict[str, int]:
        """How many wait to be looked at, to be due, and for room."""
        return {
            "active": len(self._ready) - len(self._due),
            "backoff": len(self.timed) - len(self._ready_us),
            "parked": len(self.parked),
        }

    def refresh(self, fleet: FleetState, deployment_ids: Iterable[str]) -> None:
        """Sort touched deployments anew: a commit was folded."""
        self._loss_us = None
        deployments, decided = fleet.facts.deployments, fleet.decisions.deployments
        for deployment_id in deployment_ids:
            self._drop(deployment_id)
            deployment = deployments.get(deployment_id)
            if deployment is None:
                continue
            if deployment_id not in decided:  # nobody has looked at it yet
                if deployment.spec.replicas and not deployment.deleted:
                    self._ready.add(deployment_id)
                continue
            due_us = stalling_from_us(fleet, deployment)
            if due_us is not None:
                self._stalling[deployment_id] = due_us
                heappush(self._stalls, (due_us, deployment_id))
                self._filed.add(deployment_id)
            need = need_of(fleet, deployment)
            if need is not NOTHING:
                self._filed.add(deployment_id)
                if need.unwanted or need.returned or need.relieved:
                    self.settling[deployment_id] = None
                if need.vacant:
                    self._file(fleet, deployment, sorted({at_us for _, at_us in need.vacant}))
            if deployment.updates and is_rolling(fleet, deployment):
                self.rolling[deployment_id] = None
                self._filed.add(deployment_id)

    def regroup(self, fleet: FleetState) -> None:
        """Group those that wait anew: other clusters than before may be limited."""
        self.refresh(fleet, list(self._group))

    def _file(self, fleet: FleetState, deployment: DeploymentFact, ready_us: list[int]) -> None:
        """Note what a deployment waits for whose vacant slots may be filled from then on."""
        decision = fleet.decisions.deployments.get(deployment.id)
        wait = wait_of(decision, deployment)
        if decision is None or wait is None:
            self._time(deployment.id, ready_us[0])
            return
        if wait.at_us is None:
            self.parked[deployment.id] = None
            self._park(deployment.id, ready_us)
        else:
            self._time(deployment.id, max(ready_us[0], wait.at_us))
        group = _group_of(fleet, decision, deployment, wait)
        queue = self._groups.get(group)
        if queue is None:
            queue = self._groups[group] = WaitingQueue()
            self._looked_facts_to[group] = decision.looked_facts_to
        queue.add(deployment.id)
        self._group[deployment.id] = group
        looked = min(self._looked_facts_to[group], decision.looked_facts_to)
        self._looked_facts_to[group] = looked
        self._awake[group] = None

    def _park(self, deployment_id: str, ready_us: list[int], looked_us: int = 0) -> None:
        """Look again at who waits for room whenever a slot comes in that had to wait by itself."""
        later = [at_us for at_us in ready_us if at_us > looked_us]
        if later:
            self._ready_us[deployment_id] = later
            self._time(deployment_id, later[0])

    def _time(self, deployment_id: str, at_us: int) -> None:
        if at_us:
            self.timed[deployment_id] = at_us
            heappush(self._times, (at_us, deployment_id))
        else:
            self._ready.add(deployment_id)

    def _drop(self, deployment_id: str) -> None:
        if deployment_id not in self._filed:
            self._ready.discard(deployment_id)
            return
        self._filed.remove(deployment_id)
        self.settling.pop(deployment_id, None)
        self._stalling.pop(deployment_id, None)
        self.stalled.pop(deployment_id, None)
        self.rolling.pop(deployment_id, None)
        self._looks.pop(deployment_id, None)
        self.parked.pop(deployment_id, None)
        self._ready_us.pop(deployment_id, None)
        self._unfile(deployment_id)
        self._leave_group(deployment_id)

    def _unfile(self, deployment_id: str) -> None:
        """Let a deployment wait for no look, by time or at once."""
        self._due.pop(deployment_id, None)
        self._ready.discard(deployment_id)
        self.timed.pop(deployment_id, None)

    def _leave_group(self, deployment_id: str) -> None:
        group = self._group.pop(deployment_id, None)
        if group is None:
            return
        queue = self._groups[group]
        queue.discard(deployment_id)
        if not len(queue):
            del self._groups[group]
            del self._looked_facts_to[group]
            self._awake.pop(group, None)
            self._in_vain_at.pop(group, None)

    def to_settle(self) -> list[str]:
        """Return the deployments with replicas to release or to settle."""
        return sorted(self.settling)

    def next_loss_us(self, reckon: Callable[[], int | None]) -> int | None:
        """Return what `reckon` says of the next loss, which is asked once after each fold."""
        if self._loss_us is None:
            self._loss_us = (reckon(),)
        return self._loss_us[0]

    def next_stall_us(self) -> int | None:
        """Return the next instant at which a replica has waited too long, beside the `stalled`."""
        while self._stalls and self._stalling.get(self._stalls[0][1]) != self._stalls[0][0]:
            heappop(self._stalls)
        return self._stalls[0][0] if self._stalls else None

    def come_to_stall(self, instant_us: int) -> None:
        """Note as `stalled` whoever has waited too long by an instant."""
        while (due_us := self.next_stall_us()) is not None and due_us <= instant_us:
            _, deployment_id = heappop(self._stalls)
            self.stalled[deployment_id] = self._stalling.pop(deployment_id)

    # Looks.

    def has_looks(self, instant_us: int, room_sequence: int) -> bool:
        """Tell whether a deployment is worth a look: a new one, a due one, or one that room suits.

        Room counts if it appeared after the facts of the look that parked the deployment: also
        room that appeared between that look and its being written down.
        """
        self._come_due(instant_us)
        return bool(len(self._ready) or self._woken(room_sequence))

    def walk(
        self, order: Order, room_sequence: int, hopeless: Callable[[Group], bool]
    ) -> Iterator[tuple[str, Group | None]]:
        """Yield the deployments worth a look in the order of the queue, with their group if any.

        Of a group that turns out to be hopeless, or of which all were looked at, the group is
        yielded last, without a deployment (an empty id).
        """
        self._come_due(order.instant_us)
        sources: list[tuple[Group | None, WaitingQueue]] = [(None, self._ready)]
        sources += [(group, self._groups[group]) for group in self._woken(room_sequence)]
        heads: list[tuple[QueueKey, int]] = []
        for number, (_, queue) in enumerate(sources):
            queue.sync(order)
            key = queue.peek()
            if key is not None:
                heads.append((key, number))
        heapify(heads)
        seen: set[str] = set()
        while heads:
            key, number = heads[0]
            group, queue = sources[number]
            if group is not None and hopeless(group):
                heappop(heads)
                yield "", group
                continue
            following = queue.take()
            if following is None:
                heappop(heads)
            else:
                heapreplace(heads, (following, number))
            if key[3] not in seen:  # one that is due may be woken as well
                seen.add(key[3])
                yield key[3], group
            if following is None and group is not None:
                yield "", group

    def _come_due(self, instant_us: int) -> None:
        """Make those ready whose time has come, and no others."""
        if instant_us < self._due_us:
            for deployment_id in self._due:
                self._ready.discard(deployment_id)
                heappush(self._times, (self.timed[deployment_id], deployment_id))
            self._due.clear()
        self._due_us = instant_us
        while self._times and self._times[0][0] <= instant_us:
            at_us, deployment_id = heappop(self._times)
            if self.timed.get(deployment_id) == at_us and deployment_id not in self._due:
                self._due[deployment_id] = None
                self._ready.add(deployment_id)

    def _woken(self, room_sequence: int) -> list[Group]:
        if room_sequence != self._awake_at:
            self._awake_at = room_sequence
            self._awake = dict.fromkeys(self._groups)
        for group in list(self._awake):
            in_vain = self._in_vain_at.get(group, _NEVER)
            asleep_at = max(self._looked_facts_to[group], in_vain.room_sequence)
            if asleep_at >= room_sequence:
                del self._awake[group]
        return list(self._awake)

    def in_vain(self, look: Look, room_sequence: int) -> bool:
        """Tell whether a mover's look found no room, and none appeared since."""
        return self.in_vain_us(look, room_sequence) is not None

    def in_vain_us(self, look: Look, room_sequence: int) -> int | None:
        """Return when a mover's look found no room, if none appeared since; else None."""
        known, looked = self._looks.get(look.deployment_id, {}).get(look.what, (look, _NEVER))
        return (
            looked.instant_us if known == look and looked.room_sequence >= room_sequence else None
        )

    def looked_in_vain(self, keys: Iterable[Hashable], room_sequence: int, instant_us: int) -> None:
        """Remember that looks found no room although it had appeared up to `room_sequence`.

        A key is a group of those that wait, a mover's look, or the id of a deployment.
        """
        looked = InVain(room_sequence, instant_us)
        for key in keys:
            if isinstance(key, Look):
                self._looks.setdefault(key.deployment_id, {})[key.what] = (key, looked)
                self._filed.add(key.deployment_id)
            elif isinstance(key, Group):
                self._in_vain_at[key] = looked
            elif isinstance(key, str) and key in self._ready_us:
                self._unfile(key)
                self._park(key, self._ready_us.pop(key), instant_us)

    def forget_looks(self) -> None:
        """Forget looks that were made on what did not come to be."""
        self._in_vain_at.clear()
        self._looks.clear()
        self._awake = dict.fromkeys(self._groups)

    def next_timed_us(self) -> int | None:
        """Return the next instant at which a deployment is due."""
        while self._times and self.timed.get(self._times[0][1]) != self._times[0][0]:
            heappop(self._times)
        due_us = min((self.timed[known] for known in self._due), default=None)
        next_us = self._times[0][0] if self._times else None
        return min((at_us for at_us in (due_us, next_us) if at_us is not None), default=None)
