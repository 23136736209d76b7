"""The state at past moments: folded again up to there, and shown as queries show the present one.

What changed of a deployment's status, and when, is in its history, which is a table. One deployment
or node is folded from its own events (`own_past`); all else comes from the newest snapshot before
the moment and the commits behind it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from datetime import UTC, datetime, timedelta
from typing import Protocol

from fogbank.domain.cluster_status import ClusterStatus, ClusterUse, no_cluster_then
from fogbank.domain.errors import InvalidArgumentError, NotFoundError
from fogbank.domain.snapshots import Snapshot
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.views import AsOf, DeploymentView, Moment, NodeView, Page
from fogbank.runtime.clock import Clock
from services.ledger.app.own_past import OwnHolder, OwnPast, of_the_fleet
from services.ledger.app.ports import DeploymentFilter, DeploymentSort
from services.ledger.app.progress import Progress
from services.ledger.app.records import RecordIndex
from services.ledger.app.replays import KeptCommit, LogCopy
from services.ledger.app.snapshots import Snapshots
from services.ledger.app.standings import History, PastDeployment, Standing, Standings
from services.ledger.core.log_times import STRIDE
from services.ledger.core.rows import STATUS_WORDS

# Folded states that are kept, for whoever asks about the same time again.
STATES = 2
# Without a question for so long, the process that holds them ends.
_IDLE_S = 60.0
_BEHIND_S = 10.0
# Clocks of those who ask may be off by so much.
_CLOCKS_APART_US = 2_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StateHolder(OwnHolder, Protocol):
    """Folds states and shows them, elsewhere than in this process's event loop.

    All methods raise UnavailableError when it is gone, and ReplayFailedError where a commit can't
    be taken in. A state is named by a number.
    """

    async def begin_state(self, state: int, parts: AsyncGenerator[Snapshot]) -> int:
        """Begin with the snapshot whose parts come, or with nothing; return the position."""

    async def fold(self, state: int, commits: Sequence[KeptCommit]) -> None:
        """Take in the next commits."""

    async def past_deployments(self, state: int) -> Sequence[PastDeployment]:
        """Return all deployments, deleted ones too."""

    async def show_deployments(
        self, state: int, standings: Sequence[Standing], *, whole: bool
    ) -> Sequence[DeploymentView]:
        """Return some; with their replicas and changes if `whole`."""

    async def show_cluster(
        self, state: int, cluster_id: int
    ) -> tuple[ClusterUse | None, Sequence[str]]:
        """Return how much of a cluster is used, and the ids of all its deployments.

        None if there is no such cluster.
        """

    async def show_nodes(self, state: int) -> Sequence[NodeView]:
        """Return all nodes, removed ones too."""


class PastStates:
    """Answers about past moments, one question after the other."""

    def __init__(
        self,
        copy: LogCopy,
        history: History,
        snapshots: Snapshots,
        holders: Callable[[], AbstractAsyncContextManager[StateHolder]],
        progress: Progress,
        *,
        index: RecordIndex,
        clock: Clock,
    ) -> None:
        self._copy = copy
        self._history = history
        self._snapshots = snapshots
        self._holders = holders
        self._progress = progress
        self._clock = clock
        self._standings = Standings(history, progress)
        self._own = OwnPast(index, self._standings)
        self._turn = asyncio.Lock()
        self._open = AsyncExitStack()
        self._holder: StateHolder | None = None
        # The positions of the states that are held, the one used last at the end.
        self._held: dict[int, int] = {}
        self._asked = asyncio.Event()
        self._questions = 0

    async def run(self) -> None:
        """Let go of the states when nobody has asked for a while, until cancelled."""
        try:
            while True:
                await self._asked.wait()
                questions = self._questions
                await asyncio.sleep(_IDLE_S)
                if questions == self._questions:
                    self._asked.clear()
                    async with self._turn:
                        await self._let_go()
        finally:
            await self._let_go()

    async def deployment(
        self, deployment_id: str, owner_id: str, moment: Moment
    ) -> AsOf[DeploymentView]:
        """Return a deployment with its replicas and latest changes, as it was.

        Raises:
            NotFoundError: there was none of that id, or not of that owner.
            InvalidArgumentError: the log has no such moment.
        """
        sequence = await self.sequence_of(moment)
        async with self._turn, self._holding() as holder:
            found = await self._own.deployment(holder, deployment_id, owner_id, sequence)
        return AsOf(found, sequence)

    async def node(self, node: str, moment: Moment) -> AsOf[NodeView]:
        """Return a node by its id or name, as it was; NotFoundError if there was none."""
        sequence = await self.sequence_of(moment)
        async with self._turn, self._holding() as holder:
            return AsOf(await self._own.node(holder, node, sequence), sequence)

    async def deployments(
        self, wanted: DeploymentFilter, moment: Moment
    ) -> AsOf[Page[DeploymentView]]:
        """Return some deployments as they were, without replicas and changes."""
        sequence = await self.sequence_of(moment)
        async with self._state_at(sequence) as (holder, state):
            known = [each for each in await holder.past_deployments(state) if _fits(each, wanted)]
            changes = await self._history.changes([each.id for each in known], sequence, 1)
            statuses = {each.id: changes[each.id][0].new for each in known}
            found = [each for each in known if _has_status(statuses[each.id], wanted)]
            found.sort(key=lambda each: each.id, reverse=not wanted.ascending)
            found.sort(
                key=lambda each: _sort_key(each, statuses[each.id], wanted.sort_by),
                reverse=not wanted.ascending,
            )
            page = found[wanted.offset : wanted.offset + wanted.limit]
            standings = await self._standings.of(page, sequence)
            views = await holder.show_deployments(state, standings, whole=False)
            return AsOf(Page(tuple(views), len(found)), sequence)

    async def nodes(self, limit: int, offset: int, moment: Moment) -> AsOf[Page[NodeView]]:
        """Return some nodes by name, as they were."""
        sequence = await self.sequence_of(moment)
        async with self._state_at(sequence) as (holder, state):
            views = [each for each in await holder.show_nodes(state) if of_the_fleet(each)]
        views.sort(key=lambda each: (each.name, each.id))
        return AsOf(Page(tuple(views[offset : offset + limit]), len(views)), sequence)

    async def cluster_status(self, cluster_id: int, moment: Moment) -> AsOf[ClusterStatus]:
        """Return how much of a cluster was used, and how its deployments did.

        Raises:
            NotFoundError: there was no such cluster.
            InvalidArgumentError: the log has no such moment.
        """
        sequence = await self.sequence_of(moment)
        async with self._state_at(sequence) as (holder, state):
            use, ids = await holder.show_cluster(state, cluster_id)
        if use is None:
            raise no_cluster_then(cluster_id, sequence)
        changes = await self._history.changes(ids, sequence, 1)
        counts = Counter(changes[id_][0].new for id_ in ids)
        del counts[DeploymentStatus.DELETED]
        return AsOf(ClusterStatus(use, counts), sequence)

    async def sequence_of(self, moment: Moment) -> int:
        """Return the last commit of a moment.

        Raises:
            InvalidArgumentError: before the log's first commit, after its last, in the future.
        """
        progress = self._progress
        await progress.reach(progress.log_sequence, _BEHIND_S)
        end = progress.position
        if not end:
            raise InvalidArgumentError.of_field("as_of", "the log is empty")
        if moment.sequence:
            if moment.sequence > end:
                raise InvalidArgumentError.of_field(
                    "as_of",
                    f"must be at most {end}, the log's last sequence, was {moment.sequence}",
                )
            return moment.sequence
        return await self._sequence_at(moment.time_us, end)

    async def _sequence_at(self, time_us: int, end: int) -> int:
        now_us = self._clock.now_us()
        if time_us > now_us + _CLOCKS_APART_US:
            raise InvalidArgumentError.of_field(
                "as_of", f"must not be in the future, was {_text(time_us)}; it is {_text(now_us)}"
            )
        times = self._progress.log_times
        noted = min(times.last_noted_by(time_us), end)
        behind = await self._history.appended_at_us(noted + 1, min(noted + STRIDE, end))
        found = times.sequence_by(time_us, noted, behind)
        if not found:
            raise InvalidArgumentError.of_field(
                "as_of",
                f"must not be before the log's first commit, {_text(behind[0])}, "
                f"was {_text(time_us)}",
            )
        return found

    @asynccontextmanager
    async def _holding(self) -> AsyncGenerator[StateHolder]:
        """Have somebody who holds states; who fails is let go, with all of them."""
        self._questions += 1
        self._asked.set()
        try:
            if self._holder is None:
                self._holder = await self._open.enter_async_context(self._holders())
            yield self._holder
        except NotFoundError:
            raise
        except BaseException:
            # A state half folded, or a process that is gone: begin anew next time.
            await self._let_go()
            raise

    @asynccontextmanager
    async def _state_at(self, sequence: int) -> AsyncGenerator[tuple[StateHolder, int]]:
        """Have who holds the state right after a commit, and its number, for one question."""
        async with self._turn, self._holding() as holder:
            yield holder, await self._folded(holder, sequence)

    async def _folded(self, holder: StateHolder, sequence: int) -> int:
        """Return the number of the state right after a commit."""
        async with aclosing(self._snapshots.newest(sequence)) as parts:
            first = await anext(parts, None)
            snapshot = first.position if first is not None else 0
            before = [state for state, at in self._held.items() if snapshot <= at <= sequence]
            if before:
                state = max(before, key=self._held.__getitem__)
                position = self._held.pop(state)
            else:
                state = self._free()
                position = await holder.begin_state(state, _from(first, parts))
        if position < sequence:
            async with aclosing(self._copy.commits(position + 1, sequence)) as batches:
                async for batch in batches:
                    await holder.fold(state, batch)
        self._held[state] = sequence
        return state

    def _free(self) -> int:
        """Return the number of a state that may be given up."""
        if len(self._held) < STATES:
            return next(number for number in range(STATES) if number not in self._held)
        oldest = next(iter(self._held))
        del self._held[oldest]
        return oldest

    async def _let_go(self) -> None:
        self._held.clear()
        self._holder = None
        stack, self._open = self._open, AsyncExitStack()
        await stack.aclose()


async def _from(
    first: Snapshot | None, others: AsyncGenerator[Snapshot]
) -> AsyncGenerator[Snapshot]:
    if first is not None:
        yield first
    async for part in others:
        yield part


def _fits(known: PastDeployment, wanted: DeploymentFilter) -> bool:
    return (
        (not wanted.owner_id or known.owner_id == wanted.owner_id)
        and wanted.name_contains in known.name
        and (not wanted.cluster_id or known.cluster_id == wanted.cluster_id)
        and known.created_at_us >= wanted.created_after_us
        and (not wanted.created_before_us or known.created_at_us <= wanted.created_before_us)
    )


def _has_status(status: DeploymentStatus, wanted: DeploymentFilter) -> bool:
    if wanted.statuses:
        return status in wanted.statuses
    return status is not DeploymentStatus.DELETED


def _sort_key(
    known: PastDeployment, status: DeploymentStatus, sort_by: DeploymentSort
) -> tuple[int, str]:
    match sort_by:
        case DeploymentSort.CREATED_AT:
            return known.created_at_us, ""
        case DeploymentSort.NAME:
            return 0, known.name
        case DeploymentSort.STATUS:
            return 0, STATUS_WORDS[status]


def _text(instant_us: int) -> str:
    try:
        instant = _EPOCH + timedelta(microseconds=instant_us)
    except OverflowError:
        return "after the year 9999"
    return f"{instant.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
