"""From the log into the tables: fold what is there, write it in one transaction, go on.

Each transaction is written while the next is folded. It begins once the one before is written and
nothing more of the log is at hand; the further behind the log's end, the larger they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from typing import NamedTuple

import structlog

from fogbank.codec import CodecError
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import StateDiffersError
from fogbank.domain.state_reading import IF_STATES_DIFFER
from fogbank.log.follower import decode
from fogbank.log.guard import WHAT_TO_DO, Known, require_held
from fogbank.log.port import (
    EventLog,
    LogBrokenError,
    LogGapError,
    LogRewoundError,
    LogUnavailableError,
    StoredCommit,
)
from fogbank.runtime.ahead import one_ahead
from fogbank.runtime.alongside import Alongside, alongside
from fogbank.runtime.clock import Clock
from fogbank.runtime.crash_points import crash_point
from fogbank.runtime.garbage import keep_what_was_folded, keeping_all
from services.ledger.app import metrics
from services.ledger.app.beginning import begun_projection
from services.ledger.app.ports import (
    Checkpoint,
    CopyDamagedError,
    LedgerMismatchError,
    LedgerStore,
    StoreUnavailableError,
)
from services.ledger.app.progress import Progress
from services.ledger.app.snapshots import Snapshots
from services.ledger.core.log_tree import LogTree, TreeGrowth
from services.ledger.core.making import bounded
from services.ledger.core.projection import Projection, TableChanges
from services.ledger.core.rows import CommitRow

_log = structlog.get_logger(__name__)

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0
_STANDBY_PAUSE_S = 0.25
# What an operator has to mend is looked at again after so long.
_REFUSAL_PAUSE_S = 2.0
_LOOK_S = 1.0
# So many looks in a row without an answer, and the ledger says that it is not ready.
_LOOKS = 3
# A transaction ends at so many commits or touched deployments and nodes: the more, the fewer times
# the row of a node is written that many deployments touch.
_MAX_COMMITS = 1_000
_MAX_TOUCHED = 12_000
# Near the log's end somebody may wait for what it writes: it begins at so many touched, though more
# is at hand, and ends at so many, though the one before is not written yet.
_ENOUGH_TOUCHED = 1_000
_MOST_TOUCHED_NEAR = 4_000
# With so many commits still to come it is far behind: a transaction waits for more of them.
_FAR_COMMITS = 1_000
# Folding, and making rows, lets others have a turn after so long; so many passes of the event loop,
# which an answer of the database takes from its socket to the next request.
_TURN_S = 0.002
_PASSES = 3

_MEND_COPY = (
    "; nothing is answered until that is mended: restore the ledger's database from a backup, or "
    "give the ledger an empty one, which it fills from the log (docs/operations.md, 'When the log "
    "is refused')"
)


class _Batch(NamedTuple):
    """What becomes one transaction, and what of the fleet is in which state after it."""

    commits: list[CommitRow]
    changes: TableChanges
    growth: TreeGrowth
    replica_states: dict[str, int]
    node_statuses: dict[str, int]

    @property
    def reached(self) -> Checkpoint:
        return Checkpoint(self.commits[-1].sequence, self.commits[-1].digest)


class Projector:
    """Keeps a store in step with the log."""

    def __init__(
        self,
        log: EventLog,
        store: LedgerStore,
        progress: Progress,
        clock: Clock,
        snapshots: Snapshots | None = None,
    ) -> None:
        """Begin at the log's start, or with `snapshots` at the newest; then more are kept."""
        self._log = log
        self._store = store
        self._progress = progress
        self._clock = clock
        self._snapshots = snapshots
        self._projection = self._first_projection()
        self._began = False
        self._digest = b""
        self._rows: list[CommitRow] = []
        self._tree = LogTree()
        self._turn_began_s = 0.0

    async def run(self) -> None:
        """Project until cancelled; nothing before the log holds what the copy holds.

        Stands still, not ready, where a round was decided on another state than the fold's. Waits,
        not ready, while the log lacks a commit.

        Raises:
            CodecError: a commit that cannot be understood; its message names the sequence. All
                before it is in the tables.
            RivalLedgerError: another ledger writes too; begin again.
            LedgerMismatchError: log and tables contradict each other since the start.
            LogBrokenError: the log is not what it was.
        """
        try:
            while True:
                try:
                    await self._project()
                except LogGapError as error:
                    await self._until_whole(error)
        except StateDiffersError as error:
            self._progress.stand_still()
            _log.critical(
                "The ledger stands still: states differ", error=f"{error}{IF_STATES_DIFFER}"
            )
            await asyncio.Event().wait()

    async def _until_whole(self, gap: LogGapError) -> None:
        """Wait until the log lacks a commit no more, and forget what was folded of it.

        A process that ends over it would be started again and again, and its supervisor may give
        up with all the others, the broker among them that is to be mended.
        """
        self._progress.refuse_log(str(gap))
        _log.critical("The ledger refuses the log", error=str(gap))
        await self._shown(gap.sequence)
        _log.info("The log lacks nothing any more", sequence=gap.sequence)
        self._projection = self._first_projection()
        self._began = False
        self._digest = b""
        self._progress.refuse_log("")

    async def _shown(self, sequence: int) -> None:
        """Wait until the log shows a commit that it lacked, or ends before it."""
        while True:
            with suppress(LogUnavailableError):
                await self._log.require_open()
                if await self._log.get(sequence) is not None:
                    return
                if await self._log.last_sequence() < sequence:
                    return
            await asyncio.sleep(_REFUSAL_PAUSE_S)

    def _first_projection(self) -> Projection:
        projection = Projection()
        projection.fleet.keep_pieces = self._snapshots is not None
        return projection

    async def _project(self) -> None:
        crash_point("ledger.before-agreement")
        await self._agreement()
        end = await self._log_end()
        self._progress.log_reaches(end)
        self._progress.catch_up_to(end)
        checkpoint = await self._lead()
        self._tree = await self._tree_at(checkpoint)
        _log.info("Ledger projects", position=checkpoint.position)
        async with alongside() as writing:
            try:
                await self._follow(checkpoint.position, writing)
            except (CodecError, LogBrokenError):
                await self._flush(writing)
                await writing.end()
                raise

    async def _follow(self, position: int, writing: Alongside) -> None:
        async with one_ahead(self._log.follow(position)) as batches:
            far = False
            while True:
                if self._rows and not far and not writing.under_way:
                    enough = self._projection.touched >= _ENOUGH_TOUCHED
                    if enough or not await batches.at_hand():
                        await self._flush(writing)
                        keep_what_was_folded()
                await writing.until(batches.coming)
                if batches.coming.done():
                    far = await self._take_batch(batches.take(), writing)

    async def _take_batch(self, batch: list[StoredCommit], writing: Alongside) -> bool:
        """Fold what came of the log; return whether far more of it is to come."""
        self._progress.log_reaches(batch[-1].sequence)
        crash_point("ledger.before-fold")
        far = self._progress.log_sequence - batch[-1].sequence > _FAR_COMMITS
        self._projection.fleet.far_behind = far
        most = _MAX_TOUCHED if far else _MOST_TOUCHED_NEAR
        with keeping_all() if far else nullcontext():
            for stored in batch:
                await self._take(stored)
                if len(self._rows) >= _MAX_COMMITS or self._projection.touched >= most:
                    await self._flush(writing)
        return far

    async def watch_log(self) -> None:
        """Look every second how far the log is, until cancelled."""
        misses = 0
        while True:
            try:
                self._progress.log_reaches(await self._log.last_sequence())
                misses = 0
            except LogUnavailableError:
                misses += 1
            self._progress.log_answers(misses < _LOOKS)
            await asyncio.sleep(_LOOK_S)

    async def watch_store(self) -> None:
        """Look every second whether the database answers, until cancelled."""
        misses = 0
        while True:
            try:
                await self._store.checkpoint()
                misses = 0
            except StoreUnavailableError:
                misses += 1
            self._progress.store_answers(misses < _LOOKS)
            await asyncio.sleep(_LOOK_S)

    async def _agreement(self) -> None:
        """Wait until the copy is sound and the log holds its last commit; say why not, once."""
        told = ""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._log.require_open()
                kept = await self._store.kept_copy()
                if kept.position:
                    held = Known(kept.position, kept.digest, "the ledger's copy")
                    await require_held(self._log, held)
                return
            except (StoreUnavailableError, LogUnavailableError) as error:
                why = error.message
                if why != told:
                    _log.warning("The ledger waits", error=why)
            except (CopyDamagedError, LogRewoundError) as error:
                why = f"{error}{_MEND_COPY if isinstance(error, CopyDamagedError) else ''}"
                if why != told:
                    _log.critical("The ledger refuses its copy or the log", error=why)
                pause_s = _REFUSAL_PAUSE_S
            told = why
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _log_end(self) -> int:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return await self._log.last_sequence()
            except LogUnavailableError as error:
                _log.warning("The log does not answer", error=error.message)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _lead(self) -> Checkpoint:
        """Fold up to the checkpoint, until this is the one ledger that writes."""
        standing_by = False
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                leads = await self._store.try_lead()
                crash_point("ledger.after-leader-lock")
                await self._begin()
                checkpoint = await self._store.checkpoint()
                await self._refold(checkpoint)
                crash_point("ledger.after-refold")
            except (StoreUnavailableError, LogUnavailableError) as error:
                _log.warning("The ledger waits", error=error.message)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            projection = self._projection
            self._advance(checkpoint, projection.replica_states, projection.node_statuses)
            if leads:
                return checkpoint
            if not standing_by:
                _log.info("Another ledger projects, this one stands by")
                standing_by = True
            await asyncio.sleep(_STANDBY_PAUSE_S)

    async def _begin(self) -> None:
        """Begin with a snapshot, if nothing was folded yet and there is one that verifies."""
        if self._snapshots is None or self._began:
            return
        found = await begun_projection(self._snapshots, self._log, self._take_turns)
        if found is not None:
            self._projection, self._digest = found.projection, found.digest
            self._progress.log_times.begin_with(found.log_times_us)
        self._began = True

    async def _refold(self, checkpoint: Checkpoint) -> None:
        """Fold up to the checkpoint; the tables hold what that leads to already."""
        if self._projection.position < checkpoint.position:
            async for batch in self._log.read(self._projection.position + 1, checkpoint.position):
                for stored in batch:
                    await self._fold(stored)
            await self._taken()
        if self._projection.position != checkpoint.position:
            raise LedgerMismatchError(
                f"the log ends at {self._projection.position} and the ledger's copy at "
                f"{checkpoint.position}: {WHAT_TO_DO}"
            )
        if self._digest != checkpoint.digest:
            raise LedgerMismatchError(
                f"commit {checkpoint.position} differs between the log ({self._digest.hex()}) and "
                f"the ledger's copy ({checkpoint.digest.hex()}): {WHAT_TO_DO}"
            )

    async def _tree_at(self, checkpoint: Checkpoint) -> LogTree:
        """Return the tree over all commits in the tables; from the log what is missing in it."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                tree = LogTree(await self._store.tree())
                async for batch in self._log.read(tree.size + 1, checkpoint.position):
                    for stored in batch:
                        tree.take(stored.writer.service, stored.writer.instance, stored.digest)
            except (StoreUnavailableError, LogUnavailableError) as error:
                _log.warning("The ledger waits", error=error.message)
            else:
                return tree
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _take(self, stored: StoredCommit) -> None:
        """Fold a commit and keep its bytes for the next transaction."""
        commit = await self._fold(stored)
        self._tree.take(stored.writer.service, stored.writer.instance, stored.digest)
        self._rows.append(
            CommitRow(
                stored.sequence,
                stored.writer.service,
                stored.writer.instance,
                bounded(commit.appended_at_us),
                stored.digest,
                stored.data,
            )
        )

    async def _fold(self, stored: StoredCommit) -> Commit:
        commit = decode(stored)
        self._projection.fold(commit)
        fleet = self._projection.fleet
        self._progress.log_times.note(stored.sequence, fleet.facts.log_time_us)
        if self._snapshots is not None:
            self._snapshots.offer(fleet)
        self._digest = stored.digest
        await self._take_turns()
        return commit

    async def _take_turns(self) -> None:
        """Let others have a turn where folding or making rows took long without one."""
        if self._clock.monotonic_s() - self._turn_began_s > _TURN_S:
            for _ in range(_PASSES):
                await asyncio.sleep(0)
            self._turn_began_s = self._clock.monotonic_s()

    async def _flush(self, writing: Alongside) -> None:
        """Make the rows of what was folded, and begin to write them once those before are."""
        if self._rows:
            changes = await self._taken()
            rows, self._rows = self._rows, []
            projection = self._projection
            batch = _Batch(
                rows,
                changes,
                self._tree.grown(),
                dict(projection.replica_states),
                dict(projection.node_statuses),
            )
            await writing.end()
            writing.begin(self._write(batch))

    async def _taken(self) -> TableChanges:
        """Take from the projection what differs."""
        taken = self._projection.take_happened()
        for _ in self._projection.taking_present(taken):
            await self._take_turns()
        return taken

    async def _write(self, batch: _Batch) -> None:
        """Write a transaction."""
        began_s = self._clock.monotonic_s()
        crash_point("ledger.before-write")
        await self._write_surely(batch)
        metrics.WRITE_SECONDS.observe(self._clock.monotonic_s() - began_s)
        metrics.BATCH_COMMITS.observe(len(batch.commits))
        self._advance(batch.reached, batch.replica_states, batch.node_statuses)
        crash_point("ledger.after-write")

    async def _write_surely(self, batch: _Batch) -> None:
        """Write until it is certain that it was written."""
        former = self._progress.checkpoint
        pause_s = _FIRST_PAUSE_S
        in_doubt = False
        while True:
            try:
                if in_doubt and await self._store.checkpoint() == batch.reached:
                    # What was written up to there is the same, whoever wrote it.
                    break
                await self._store.write(former, batch.commits, batch.changes, batch.growth)
                break
            except StoreUnavailableError as error:
                in_doubt = True
                _log.warning("The ledger cannot write", error=error.message, pause_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _advance(
        self,
        checkpoint: Checkpoint,
        replica_states: Mapping[str, int],
        node_statuses: Mapping[str, int],
    ) -> None:
        self._progress.advance(checkpoint)
        for state, replicas in replica_states.items():
            metrics.REPLICAS.labels(state).set(replicas)
        for status, nodes in node_statuses.items():
            metrics.NODES.labels(status).set(nodes)
