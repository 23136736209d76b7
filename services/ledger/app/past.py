"""The state at past moments, shown as queries show the present one.

Who and what was there is in tables (`past_reads`). How deployments and nodes stood is folded from
their own events (`own_past`), of those that an answer shows and of no others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta

from fogbank.domain.cluster_status import ClusterStatus, no_cluster_then
from fogbank.domain.errors import InvalidArgumentError, NotFoundError
from fogbank.domain.position import sequence_of
from fogbank.domain.views import AsOf, DeploymentView, Moment, NodeReplica, NodeView, Page
from fogbank.runtime.clock import Clock
from services.ledger.app.own_past import HolderEndedError, OwnHolder, OwnPast
from services.ledger.app.past_reads import PastMoment, PastReads
from services.ledger.app.ports import DeploymentFilter
from services.ledger.app.progress import Progress
from services.ledger.app.records import RecordIndex
from services.ledger.app.standings import History, Standings
from services.ledger.core.log_times import STRIDE

# Without a question for so long, the process that holds them ends.
_IDLE_S = 60.0
_BEHIND_S = 10.0
# Clocks of those who ask may be off by so much.
_CLOCKS_APART_US = 2_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PastStates:
    """Answers about past moments, one question after the other."""

    def __init__(
        self,
        reads: PastReads,
        history: History,
        index: RecordIndex,
        holders: Callable[[], AbstractAsyncContextManager[OwnHolder]],
        progress: Progress,
        *,
        clock: Clock,
    ) -> None:
        self._reads = reads
        self._history = history
        self._holders = holders
        self._progress = progress
        self._clock = clock
        self._standings = Standings(history, progress)
        self._own = OwnPast(index, reads, self._standings)
        self._turn = asyncio.Lock()
        self._open = AsyncExitStack()
        self._holder: OwnHolder | None = None
        self._asked = asyncio.Event()
        self._questions = 0

    async def run(self) -> None:
        """Let go of the holder when nobody has asked for a while, until cancelled."""
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
            NotFoundError: there was none of that id, or not of that owner; it says when one was
                created later.
            InvalidArgumentError: the log has no such moment.
        """
        sequence = await self.sequence_of(moment)
        try:
            async with self._holding() as holder:
                found = await self._own.deployment(holder, deployment_id, owner_id, sequence)
        except NotFoundError as error:
            created = await self._reads.created_after(deployment_id, owner_id, sequence)
            raise await self._not_then(error, sequence, ("created", created)) from error
        return AsOf(found, sequence)

    async def node(self, node: str, moment: Moment) -> AsOf[NodeView]:
        """Return a node by its id or name, as it was.

        Raises:
            NotFoundError: there was none; it says when one was removed before, or joined later.
            InvalidArgumentError: the log has no such moment.
        """
        sequence = await self.sequence_of(moment)
        try:
            async with self._holding() as holder:
                return AsOf(await self._own.node(holder, node, sequence), sequence)
        except NotFoundError as error:
            removed, joined = await self._reads.node_around(node, sequence)
            around = (("removed", removed), ("added", joined))
            raise await self._not_then(error, sequence, *around) from error

    async def deployments(
        self, wanted: DeploymentFilter, moment: Moment
    ) -> AsOf[Page[DeploymentView]]:
        """Return some deployments as they were, without replicas and changes."""
        sequence = await self.sequence_of(moment)
        found = await self._reads.deployments(wanted, await self._moment(sequence))
        if not found.items:
            return AsOf(Page((), found.total), sequence)
        async with self._holding() as holder:
            views = await self._own.deployments(holder, found.items, sequence)
        return AsOf(Page(tuple(views), found.total), sequence)

    async def nodes(self, limit: int, offset: int, moment: Moment) -> AsOf[Page[NodeView]]:
        """Return some nodes by name, as they were."""
        sequence = await self.sequence_of(moment)
        found = await self._reads.nodes(limit, offset, sequence)
        if not found.items:
            return AsOf(Page((), found.total), sequence)
        async with self._holding() as holder:
            views = await self._own.nodes(holder, found.items, sequence)
        return AsOf(Page(tuple(views), found.total), sequence)

    async def node_replicas(
        self, node: str, owner_id: str, moment: Moment
    ) -> AsOf[Page[NodeReplica]]:
        """Return what was on a node, by deployments' names and slots; NotFoundError if none was.

        With an owner only what is theirs is listed; all are counted.
        """
        sequence = await self.sequence_of(moment)
        async with self._holding() as holder:
            found = await self._own.replicas_on(holder, node, sequence)
        listed = [each.replica for each in found if owner_id in {"", each.owner_id}]
        listed.sort(key=lambda each: (each.deployment_name, each.deployment_id, each.replica.slot))
        return AsOf(Page(tuple(listed), len(found)), sequence)

    async def cluster_status(self, cluster_id: int, moment: Moment) -> AsOf[ClusterStatus]:
        """Return how much of a cluster was used, and how its deployments did.

        Raises:
            NotFoundError: there was no such cluster.
            InvalidArgumentError: the log has no such moment.
        """
        sequence = await self.sequence_of(moment)
        use = await self._reads.cluster_use(cluster_id, sequence)
        if use is None:
            later = await self._reads.cluster_use(cluster_id, self._progress.position)
            created = sequence_of(later.cluster.created_position) if later else 0
            raise no_cluster_then(cluster_id, sequence, created)
        counts = await self._reads.statuses(cluster_id, await self._moment(sequence))
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

    async def _not_then(
        self, error: NotFoundError, sequence: int, *around: tuple[str, int]
    ) -> NotFoundError:
        """Return an error that also says what was when, by commits; 0 is for what never was."""
        known = [(what, when) for what, when in around if when]
        if not known:
            return error
        times_us = await self._standings.log_times_us({when for _, when in known})
        said = " and ".join(f"{what} by commit {n} at {_text(times_us[n])}" for what, n in known)
        text = f"{error.message} at log sequence {sequence}: it was {said}"
        return NotFoundError(text, reason=error.reason, sought=error.sought)

    async def _moment(self, sequence: int) -> PastMoment:
        log_times_us = await self._standings.log_times_us({sequence})
        return PastMoment(sequence, log_times_us[sequence])

    @asynccontextmanager
    async def _holding(self) -> AsyncGenerator[OwnHolder]:
        """Have somebody who folds events, for one question; who is gone is let go."""
        self._questions += 1
        self._asked.set()
        async with self._turn:
            try:
                if self._holder is None:
                    self._holder = await self._open.enter_async_context(self._holders())
                yield self._holder
            except HolderEndedError:
                await self._let_go()
                raise

    async def _let_go(self) -> None:
        self._holder = None
        stack, self._open = self._open, AsyncExitStack()
        await stack.aclose()


def _text(instant_us: int) -> str:
    try:
        instant = _EPOCH + timedelta(microseconds=instant_us)
    except OverflowError:
        return "after the year 9999"
    return f"{instant.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"
