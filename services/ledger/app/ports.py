"""What the ledger needs of the outside: a store it writes, and the same store to ask."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from fogbank.domain.errors import UnavailableError
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.status import StatusChange
from fogbank.domain.views import AsOf, DeploymentView, NodeView, Page, StatusRecord
from fogbank.runtime.operator_error import OperatorError
from services.ledger.core.log_tree import TreeGrowth, TreeHead
from services.ledger.core.projection import TableChanges
from services.ledger.core.rows import CommitRow


class StoreUnavailableError(UnavailableError):
    """The database does not answer; whether a write happened is unknown."""

    default_reason = "LEDGER_DATABASE_UNAVAILABLE"


class RivalLedgerError(OperatorError):
    """Another ledger moved the checkpoint. This one must begin again from the checkpoint."""


class CopyDamagedError(UnavailableError):
    """The copy of a commit is gone, or its bytes are not those whose digest was noted."""

    default_reason = "LEDGER_COPY_DAMAGED"


class LedgerMismatchError(OperatorError):
    """The database's copy and the log differ, or the database is another fleet's.

    Nobody can go on without an operator; the message says what to do.
    """


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the tables are: the sequence of the last commit in them, and its SHA-256.

    Before the first commit `position` is 0 and `digest` empty.
    """

    position: int = 0
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class KeptCopy:
    """The second copy of the log: how many commits are kept, and the last of them.

    `digest` is what the bytes themselves come to, not what was noted of them.
    """

    commits: int = 0
    position: int = 0
    digest: bytes = b""


class LedgerStore(Protocol):
    """The tables, to their one writer."""

    async def checkpoint(self) -> Checkpoint:
        """Return how far the tables are.

        Raises:
            StoreUnavailableError: no answer.
        """

    async def kept_copy(self) -> KeptCopy:
        """Return how far the commits are kept as bytes, up to the checkpoint.

        Raises:
            CopyDamagedError: the last one's bytes contradict the checkpoint; names the sequence.
            StoreUnavailableError: no answer.
        """

    async def tree(self) -> TreeHead:
        """Return how far the tree over the commits has grown.

        Raises:
            StoreUnavailableError: no answer.
        """

    async def write(
        self,
        former: Checkpoint,
        commits: Sequence[CommitRow],
        changes: TableChanges,
        growth: TreeGrowth,
    ) -> Checkpoint:
        """Write commits, rows, tree and checkpoint in one transaction; return the new checkpoint.

        Raises:
            RivalLedgerError: the checkpoint is not `former`; nothing was written.
            StoreUnavailableError: not confirmed; it may have been written.
        """

    async def try_lead(self) -> bool:
        """Try to be the one ledger that writes; True from then on if so.

        It keeps others from trying in vain; what is correct rests on the checkpoint alone.

        Raises:
            StoreUnavailableError: no answer.
        """


# As far as a database counts.
LARGEST_OFFSET = (1 << 63) - 1


class DeploymentSort(IntEnum):
    """What a list of deployments is sorted by; ties by id."""

    CREATED_AT = 1
    NAME = 2
    STATUS = 3


@dataclass(frozen=True, slots=True)
class DeploymentFilter:
    """Which deployments to list; bounds are inclusive.

    Empty texts and 0 stand for any; no statuses for all but deleted ones.
    """

    owner_id: str = ""
    statuses: tuple[DeploymentStatus, ...] = ()
    name_contains: str = ""
    created_after_us: int = 0
    created_before_us: int = 0
    cluster_id: int = 0
    sort_by: DeploymentSort = DeploymentSort.CREATED_AT
    ascending: bool = False
    limit: int = 100
    offset: int = 0

    @property
    def reach(self) -> int:
        """How many there are up to the end of the page."""
        return min(self.offset + self.limit, LARGEST_OFFSET)


class LedgerReads(Protocol):
    """The tables, to those who ask. Every answer is read in one snapshot with its position.

    All methods raise StoreUnavailableError when the database does not answer.
    """

    async def deployment(self, deployment_id: str) -> AsOf[DeploymentView] | None:
        """Return a deployment with its replicas and latest changes, None for an unknown id."""

    async def deployments(self, wanted: DeploymentFilter) -> AsOf[Page[DeploymentView]]:
        """Return some deployments, without replicas and changes."""

    async def node(self, node: str) -> AsOf[NodeView] | None:
        """Return a node by its id or name, None for an unknown one."""

    async def nodes(self, limit: int, offset: int) -> AsOf[Page[NodeView]]:
        """Return some nodes by name, ties by id."""

    def statuses(self) -> AsyncGenerator[AsOf[tuple[StatusRecord, ...]]]:
        """Yield the status of every deployment so far, in parts, all as of one position."""

    async def changes(self, first: int, last: int) -> Sequence[StatusChange]:
        """Return the changes of status by the commits `first` to `last`, in their order.

        Those of one commit are in the order of the deployments' ids.
        """

    async def kept_copy(self) -> KeptCopy:
        """Return how far the commits are kept as bytes; CopyDamagedError as `LedgerStore`."""
