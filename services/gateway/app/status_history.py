"""The changes of deployments' statuses: the latest in memory, older ones in the ledger."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterable, Sequence

from fogbank.domain.status import StatusChange, of_this_life
from fogbank.domain.views import RECENT_CHANGES, StatusRecord
from services.gateway.app.ports import LedgerStatuses

# Changes that are handed out at once.
_CHANGES_AT_ONCE = 1_000


class StatusHistory:
    """The latest `kept` changes of all deployments, and the latest 10 of each.

    All after `forgotten_sequence` are in memory.
    """

    def __init__(self, ledger: LedgerStatuses, kept: int) -> None:
        self.forgotten_sequence = 0
        self._ledger = ledger
        self._kept = kept
        self._changes: list[StatusChange] = []
        self._recent: dict[str, tuple[StatusChange, ...]] = {}

    def begin_at(self, sequence: int, records: Iterable[StatusRecord]) -> None:
        """Begin with what was known of each deployment as of a commit."""
        self.forgotten_sequence = sequence
        self._recent = {record.deployment_id: record.recent_changes for record in records}

    def remember(self, changes: Sequence[StatusChange]) -> None:
        """Take in the changes of later commits."""
        for change in changes:
            recent = self._recent.get(change.deployment_id, ())
            latest = (change, *recent[: RECENT_CHANGES - 1])
            self._recent[change.deployment_id] = of_this_life(latest)
        self._changes += changes
        if len(self._changes) > 2 * self._kept:
            surplus = len(self._changes) - self._kept
            self.forgotten_sequence = self._changes[surplus - 1].sequence
            del self._changes[:surplus]

    def forget(self, deployment_id: str) -> None:
        """Forget the latest changes of a deployment."""
        self._recent.pop(deployment_id, None)

    def recent(self, deployment_id: str) -> tuple[StatusChange, ...]:
        """Return a deployment's latest changes, newest first, at most 10."""
        return self._recent.get(deployment_id, ())

    def after(self, sequence: int, upto: int) -> tuple[list[StatusChange], int]:
        """Return the next changes after a sequence, none of them forgotten, and how far they go.

        They are complete up to there: to `upto`, the last commit that was taken in, or to the end
        of some commit before, so that nobody holds many at once.
        """
        changes = self._changes
        start = bisect_right(changes, sequence, key=lambda change: change.sequence)
        if len(changes) - start <= _CHANGES_AT_ONCE:
            return changes[start:], upto
        last = changes[start + _CHANGES_AT_ONCE].sequence
        end = bisect_right(changes, last, start, key=lambda change: change.sequence)
        return changes[start:end], last if end < len(changes) else upto

    def forgotten(self, after: int) -> AsyncGenerator[tuple[list[StatusChange], int]]:
        """Yield forgotten changes after a sequence, with how far they are complete.

        Raises:
            FogError: the ledger does not answer.
        """
        return self._ledger.changes(after, self.forgotten_sequence)
