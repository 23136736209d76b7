"""The gateway's own reading of the log: one follower, and everybody who waits for it.

Answers and effects follow from here only: a command is answered, and an agent is sent something,
when the fold has taken it in.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

import structlog

from fogbank.domain.envelope import SCHEDULER, Commit
from fogbank.domain.errors import OutOfRangeError
from fogbank.domain.facts import NodeFact
from fogbank.domain.fleet import FleetState, StateDiffersError
from fogbank.domain.folded import Folded
from fogbank.domain.snapshots import SnapshotRefusedError, require_confirmed
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange, StatusTracker
from fogbank.log.follower import follow_commits, read_commits
from fogbank.log.port import EventLog
from fogbank.log.snapshots import SnapshotSource, ignored
from fogbank.placement.needs import waits_for_a_place
from fogbank.runtime.crash_points import crash_point
from services.gateway.app.beginning import Begun, begun_fold
from services.gateway.app.deployment_counts import DeploymentCounts
from services.gateway.app.log_end import LogEnd
from services.gateway.app.ports import LedgerStatuses
from services.gateway.app.status_history import StatusHistory
from services.gateway.app.waiting_deployments import WaitingDeployments
from services.gateway.app.waking import Turns

_log = structlog.get_logger(__name__)

# A batch with more changes than this is logged in one line.
_CHANGES_TO_LOG = 200


@dataclass(slots=True)
class Batch:
    """What the fold took in at once: nodes and deployments touched, and changes of status.

    The fleet has `forgotten` some, perhaps of those that were touched.
    """

    last_sequence: int
    nodes: set[str] = field(default_factory=set)
    deployments: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    changes: list[StatusChange] = field(default_factory=list)


class FleetFold:
    """The state of the fleet as far as this gateway has read the log.

    `run` must be running; it belongs in the service's task group. The latest `kept_changes`
    changes of status stay in memory for watchers; older ones are asked of the ledger.
    """

    def __init__(
        self,
        log: EventLog,
        ledger: LedgerStatuses,
        *,
        kept_changes: int = 100_000,
        snapshots: SnapshotSource | None = None,
    ) -> None:
        """Begin at the start of the log, or with `snapshots` at the newest of them."""
        self._log = log
        self._log_end = LogEnd(log)
        self._ledger = ledger
        self._snapshots = snapshots
        self._kept_changes = kept_changes
        self._forget_all()
        self._waiters: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiter_number = 0
        # How many waiters gave up since the heap was last rid of them.
        self._gave_up = 0
        self._status_waiters: dict[str, dict[asyncio.Event, None]] = {}
        self._followers = Turns()
        self._listeners: list[Callable[[Batch], None]] = []
        self._live_from = 0
        # Set once all is folded that the log held at the start: before, the fold may begin again.
        self.caught_up = asyncio.Event()

    def _forget_all(self) -> None:
        """Stand at the start of the log."""
        # The sequence up to which a snapshot and the ledger's statuses stood in for the log.
        self.begun_at = 0
        self.fleet = FleetState()
        self.tracker = StatusTracker()
        # Instance of the scheduler that wrote the last accepted round.
        self.leader = ""
        self._history = StatusHistory(self._ledger, self._kept_changes)
        self.counts = DeploymentCounts()
        self.waiting = WaitingDeployments()
        self._node_touched: dict[str, int] = {}
        # Nodes by every name that they had.
        self._nodes_once_named: dict[str, set[str]] = {}

    @property
    def pending(self) -> int:
        """How many deployments wait to be scheduled."""
        return sum(self.counts.pending.values())

    @property
    def position(self) -> int:
        """The last log sequence that was taken in."""
        return self.fleet.position

    async def run(self) -> None:
        """Follow the log until cancelled, from its beginning or from where a snapshot leads.

        Raises:
            CodecError: a commit that this release cannot read.
            LogBrokenError: the log lost commits.
            StateDiffersError: a round was decided on another state than this.
        """
        begun = None
        if self._snapshots is not None:
            begun = await begun_fold(self._snapshots, self._ledger, self._log)
        self._live_from = await self._log.last_sequence()
        if begun is not None:
            self._begin_with(begun)
        try:
            self._look_whether_caught_up()
            await self._follow()
        except (StateDiffersError, SnapshotRefusedError) as error:
            if not self.begun_at or self.caught_up.is_set():
                raise
            ignored(self.begun_at, error)
            self._forget_all()
            await self._follow()

    async def _follow(self) -> None:
        async for commits in follow_commits(self._log, self.position):
            self._take_in(commits)

    def _begin_with(self, begun: Begun) -> None:
        self.fleet = begun.fleet
        self.leader = begun.leader
        self.begun_at = self.position
        for record in begun.records:
            self.tracker.current[record.deployment_id] = record.status
            self.tracker.updated_at_us[record.deployment_id] = record.updated_at_us
        self._history.begin_at(self.position, begun.records)
        self._count(self.fleet.facts.deployments)
        self._note_who_waits()
        # When each was touched last is not known: by then at the latest.
        self._node_touched = dict.fromkeys(sorted(self.fleet.facts.nodes), self.position)
        self._note_names(self.fleet.facts.nodes)
        self._wake(Batch(self.position))

    def _look_whether_caught_up(self) -> None:
        if self.caught_up.is_set() or self.position < self._live_from:
            return
        if self.begun_at:
            require_confirmed(self.fleet)
        self.caught_up.set()

    def _take_in(self, commits: list[Commit]) -> None:
        batch = Batch(commits[-1].sequence)
        for commit in commits:
            folded = self.fleet.fold(commit)
            if commit.service == SCHEDULER and folded.verdicts[0].accepted:
                self.leader = commit.instance
            changes = self.tracker.update(self.fleet, folded)
            batch.nodes |= folded.nodes
            batch.deployments |= folded.deployments
            batch.forgotten.update(folded.forgotten)
            batch.changes += changes
            self._note_waits(folded)
            for node_id in sorted(folded.nodes):  # the order in which watchers see them
                self._node_touched.pop(node_id, None)
                self._node_touched[node_id] = folded.sequence
        self._history.remember(batch.changes)
        self._count(batch.deployments)
        self._forget(batch.forgotten)
        self._note_names(batch.nodes)
        crash_point("gateway.after-fold")
        self._wake(batch)
        self._look_whether_caught_up()
        if batch.last_sequence > self._live_from:
            _log_changes(batch.changes)

    def _count(self, deployment_ids: Iterable[str]) -> None:
        deployments, current = self.fleet.facts.deployments, self.tracker.current
        for deployment_id in deployment_ids:
            deployment = deployments.get(deployment_id)
            if deployment is not None:
                status = current.get(deployment_id, DeploymentStatus.PENDING)
                self.counts.note(deployment, status)

    def _forget(self, deployment_ids: Iterable[str]) -> None:
        """Forget what the fleet has forgotten, unless it was created anew since."""
        for deployment_id in deployment_ids:
            if deployment_id not in self.fleet.facts.deployments:
                self._history.forget(deployment_id)
                self.counts.forget(deployment_id)

    def _note_waits(self, folded: Folded) -> None:
        for deployment_id in folded.deployments:
            deployment = self.fleet.facts.deployments.get(deployment_id)
            if deployment is not None:
                waits = waits_for_a_place(self.fleet, deployment)
                self.waiting.note(deployment, folded.log_time_us, waits=waits)

    def _note_who_waits(self) -> None:
        """Begin with those that wait, each from its last change on if it ever had a place."""
        since: list[tuple[int, str]] = []
        for deployment in self.fleet.facts.deployments.values():
            if waits_for_a_place(self.fleet, deployment):
                placed_once = self.fleet.decisions.of(deployment.id).placed_once
                at_us = self.tracker.updated_at_us.get(deployment.id) if placed_once else None
                since.append((at_us or deployment.created_at_us, deployment.id))
        for at_us, deployment_id in sorted(since):
            self.waiting.note(self.fleet.facts.deployments[deployment_id], at_us, waits=True)

    def _note_names(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            node = self.fleet.facts.nodes.get(node_id)
            if node is not None:
                self._nodes_once_named.setdefault(node.name, set()).add(node_id)

    def owner_of(self, deployment_id: str) -> str:
        """Return whose a deployment is; empty if the fleet has none such, or has forgotten it."""
        deployment = self.fleet.facts.deployments.get(deployment_id)
        return deployment.owner_id if deployment is not None else ""

    def nodes_named(self, name: str) -> list[NodeFact]:
        """Return the nodes that have a name, however many there are in all."""
        nodes = [self.fleet.facts.nodes[each] for each in self._nodes_once_named.get(name, ())]
        return [node for node in nodes if node.name == name]

    def _wake(self, batch: Batch) -> None:
        while self._waiters and self._waiters[0][0] <= self.position:
            future = heapq.heappop(self._waiters)[2]
            if not future.done():
                future.set_result(None)
        if self._status_waiters:
            for change in batch.changes:
                for waiter in self._status_waiters.get(change.deployment_id, ()):
                    waiter.set()
        self._followers.wake()
        for listener in self._listeners:
            listener(batch)

    @contextmanager
    def listen(self, listener: Callable[[Batch], None]) -> Iterator[None]:
        """Call `listener` after each batch was taken in, for as long as the context lasts."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    async def reached(self, sequence: int) -> None:
        """Wait until the fold has taken in a sequence."""
        if self.position >= sequence:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiter_number += 1
        heapq.heappush(self._waiters, (sequence, self._waiter_number, future))
        try:
            await future
        finally:
            self._gave_up += future.cancelled()
            if self._gave_up * 2 > len(self._waiters):
                self._waiters = [each for each in self._waiters if not each[2].done()]
                heapq.heapify(self._waiters)
                self._gave_up = 0

    async def log_end(self) -> int:
        """Return the log's last sequence.

        Raises:
            LogUnavailableError: the log does not answer.
        """
        return await self._log_end.ask()

    async def check_reached(self, sequence: int, field: str) -> None:
        """See that the log goes as far as a sequence that somebody wants to go on after.

        Raises:
            OutOfRangeError: it doesn't; `field` is the face's word for the sequence.
            LogUnavailableError: the log does not answer.
        """
        if sequence > self.position and sequence > (end := await self.log_end()):
            raise OutOfRangeError.of_field(
                field, f"must be at most {end}, the log's last sequence, was {sequence}"
            )

    async def commit(self, sequence: int) -> Commit:
        """Return a commit that was taken in, read from the log again.

        Raises:
            LogUnavailableError: the log does not answer.
        """
        async with aclosing(read_commits(self._log, sequence, sequence)) as read:
            return (await anext(read))[0]

    async def advance(self, beyond: int) -> None:
        """Wait until the fold is further than a sequence, and for one's turn among followers."""
        while self.position <= beyond:
            await self._followers.news()

    async def status_in(self, deployment_id: str, wanted: frozenset[DeploymentStatus]) -> None:
        """Wait until a deployment's status is one of those wanted."""
        waiter = asyncio.Event()
        waiters = self._status_waiters.setdefault(deployment_id, {})
        waiters[waiter] = None
        try:
            while self.tracker.current.get(deployment_id) not in wanted:
                waiter.clear()
                await waiter.wait()
        finally:
            waiters.pop(waiter, None)
            if not waiters:
                self._status_waiters.pop(deployment_id, None)

    def recent_changes(self, deployment_id: str) -> tuple[StatusChange, ...]:
        """Return a deployment's latest changes of status, newest first, at most 10."""
        return self._history.recent(deployment_id)

    def nodes_touched_after(self, sequence: int) -> list[tuple[int, str]]:
        """Return (last sequence that touched it, node id), oldest first."""
        found = []
        for node_id in reversed(self._node_touched):
            touched = self._node_touched[node_id]
            if touched <= sequence:
                break
            found.append((touched, node_id))
        found.reverse()
        return found

    async def changes_after(
        self, sequence: int, at_least_every_s: float | None = None
    ) -> AsyncIterator[tuple[list[StatusChange], int]]:
        """Yield the changes of status after a sequence for ever, without gaps.

        Each item is some changes, in order, and the sequence up to which they are complete. An
        item without changes comes when nothing happened for `at_least_every_s` seconds.

        Raises:
            FogError: changes that are not in memory any more can't be had from the ledger.
        """
        cursor = sequence
        while True:
            if cursor < self._history.forgotten_sequence:
                async with aclosing(self._history.forgotten(cursor)) as parts:
                    async for changes, upto in parts:
                        cursor = upto
                        yield changes, cursor
                continue
            try:
                async with asyncio.timeout(at_least_every_s):
                    await self.advance(cursor)
            except TimeoutError:
                yield [], cursor
                continue
            if cursor < self._history.forgotten_sequence:
                continue
            changes, cursor = self._history.after(cursor, self.position)
            yield changes, cursor


def _log_changes(changes: list[StatusChange]) -> None:
    if len(changes) > _CHANGES_TO_LOG:
        _log.info(f"{len(changes)} deployments changed their status")
        return
    for change in changes:
        old = change.old.name.lower() if change.old is not None else "none"
        _log.info(
            f"Deployment {change.deployment_id} status: {old} -> {change.new.name.lower()} "
            f"(reason: {change.reason})"
        )
