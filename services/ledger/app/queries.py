"""Answers from the tables, each with the log sequence up to which it is true."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from fogbank.domain.cluster_status import ClusterStatus
from fogbank.domain.errors import InvalidArgumentError, NotFoundError, UnavailableError
from fogbank.domain.status import StatusChange
from fogbank.domain.views import (
    AsOf,
    DeploymentView,
    Moment,
    NodeReplica,
    NodeView,
    Page,
    StatusRecord,
)
from services.ledger.app.past import PastStates
from services.ledger.app.ports import LARGEST_OFFSET, DeploymentFilter, LedgerReads
from services.ledger.app.progress import Progress

MAX_LIMIT = 1_000

# Changes of status are read so many commits at a time: fewer where a commit has many changes, more
# where few have any.
_FIRST_WIDTH = 64
_LARGEST_WIDTH = 8_192
_FEW_CHANGES, _MANY_CHANGES = 1_000, 5_000
# So many are sent at once: a message has room for them, however long their reasons are.
_CHANGES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """How far the ledger is; `digest` is the SHA-256 of the commit at `position`."""

    position: int
    digest: bytes
    log_sequence: int
    commits_kept: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Answer only when commit `sequence` is in the tables (0: at once), within `within_s`."""

    sequence: int = 0
    within_s: float = 0.0


class LedgerQueries:
    """What gateways ask. Unknown and foreign ids are the same NotFoundError."""

    def __init__(self, reads: LedgerReads, past: PastStates, progress: Progress) -> None:
        self._reads = reads
        self._past = past
        self._progress = progress

    async def deployment(
        self, deployment_id: str, owner_id: str, wait: Wait, moment: Moment | None = None
    ) -> AsOf[DeploymentView]:
        """Return a deployment, as it was at a past moment if one is given.

        With an owner, only if it is that user's.
        """
        await self._reach(wait)
        if moment is not None:
            return await self._past.deployment(deployment_id, owner_id, moment)
        found = await self._reads.deployment(deployment_id)
        if found is None or (owner_id and found.value.owner_id != owner_id):
            raise NotFoundError.of("deployment", deployment_id)
        return found

    async def deployments(
        self, wanted: DeploymentFilter, wait: Wait, moment: Moment | None = None
    ) -> AsOf[Page[DeploymentView]]:
        """Return some deployments, as they were at a past moment if one is given.

        Raises:
            InvalidArgumentError: a limit or offset out of bounds.
        """
        _check_page(wanted.limit, wanted.offset)
        await self._reach(wait)
        if moment is not None:
            return await self._past.deployments(wanted, moment)
        return await self._reads.deployments(wanted)

    async def node(self, node: str, wait: Wait, moment: Moment | None = None) -> AsOf[NodeView]:
        """Return a node by its id or name, as it was at a past moment if one is given."""
        await self._reach(wait)
        if moment is not None:
            return await self._past.node(node, moment)
        found = await self._reads.node(node)
        if found is None:
            raise NotFoundError.of("node", node)
        return found

    async def nodes(
        self, limit: int, offset: int, wait: Wait, moment: Moment | None = None
    ) -> AsOf[Page[NodeView]]:
        """Return some nodes by name, as they were at a past moment if one is given.

        Raises:
            InvalidArgumentError: a limit or offset out of bounds.
        """
        _check_page(limit, offset)
        await self._reach(wait)
        if moment is not None:
            return await self._past.nodes(limit, offset, moment)
        return await self._reads.nodes(limit, offset)

    async def node_replicas(
        self, node: str, owner_id: str, moment: Moment
    ) -> AsOf[Page[NodeReplica]]:
        """Return what was on a node at a past moment, listed an owner's only if one is named.

        Raises:
            NotFoundError: there was no such node.
        """
        return await self._past.node_replicas(node, owner_id, moment)

    async def cluster_status(
        self, cluster_id: int, wait: Wait, moment: Moment
    ) -> AsOf[ClusterStatus]:
        """Return how much of a cluster was used at a past moment."""
        await self._reach(wait)
        return await self._past.cluster_status(cluster_id, moment)

    def statuses(self) -> AsyncGenerator[AsOf[tuple[StatusRecord, ...]]]:
        """Yield the status of every deployment so far, in parts, all as of one position."""
        return self._reads.statuses()

    async def changes(
        self, after: int, wait: Wait
    ) -> AsyncGenerator[tuple[Sequence[StatusChange], int]]:
        """Yield the changes of status after a commit up to the one of `wait`, in their order.

        Each item is some changes, and the sequence up to which they are complete.

        Raises:
            InvalidArgumentError: a sequence that is none.
        """
        if after < 0:
            raise InvalidArgumentError.of_field(
                "after_sequence", f"must be at least 0, was {after}"
            )
        await self._reach(wait)
        width = _FIRST_WIDTH
        while after < wait.sequence:
            last = min(after + width, wait.sequence)
            changes = await self._reads.changes(after + 1, last)
            for start in range(0, len(changes), _CHANGES_AT_ONCE):
                end = start + _CHANGES_AT_ONCE
                # Of the last one's commit there may be more to come.
                upto = last if end >= len(changes) else changes[end - 1].sequence - 1
                yield changes[start:end], upto
            if not changes:
                yield (), last
            after = last
            if len(changes) < _FEW_CHANGES:
                width = min(2 * width, _LARGEST_WIDTH)
            elif len(changes) > _MANY_CHANGES:
                width = max(width // 2, 1)

    async def status(self) -> LedgerStatus:
        """Return how far the tables are, whether or not this ledger has got that far itself.

        Raises:
            CopyDamagedError: the second copy of the log isn't sound; nobody should rely on it.
            UnavailableError: the log lacks a commit; nobody should read it before that is mended.
        """
        if self._progress.log_refused:
            raise UnavailableError(
                f"the ledger refuses the log: {self._progress.log_refused}",
                reason="LEDGER_REFUSES_LOG",
            )
        kept = await self._reads.kept_copy()
        return LedgerStatus(
            kept.position,
            kept.digest,
            max(self._progress.log_sequence, kept.position),
            kept.commits,
        )

    async def _reach(self, wait: Wait) -> None:
        if wait.sequence < 0:
            raise InvalidArgumentError.of_field(
                "min_sequence", f"must be at least 0, was {wait.sequence}"
            )
        await self._progress.reach(wait.sequence, wait.within_s)


def _check_page(limit: int, offset: int) -> None:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidArgumentError.of_field("limit", f"must be 1 to {MAX_LIMIT}, was {limit}")
    if not 0 <= offset <= LARGEST_OFFSET:
        raise InvalidArgumentError.of_field("offset", f"must be at least 0, was {offset}")
