"""Statuses and their history as a ledger keeps them, derived from a log whenever asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from fogbank.domain.fleet import FleetState
from fogbank.domain.status import StatusChange, StatusTracker
from fogbank.domain.views import RECENT_CHANGES, AsOf, StatusRecord
from fogbank.log.follower import read_commits
from fogbank.log.port import EventLog


class _Lasting(StatusTracker):
    """Statuses as tables have them: of forgotten deployments too."""

    def forget(self, deployment_ids: Iterable[str]) -> None:
        """Keep them."""


class LogStatuses:
    """A gateway's `LedgerStatuses` without a ledger; `asked` counts the questions."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.asked = 0

    async def statuses(self) -> AsyncGenerator[AsOf[tuple[StatusRecord, ...]]]:
        self.asked += 1
        tracker, changes = await self._folded(await self._log.last_sequence())
        records = tuple(
            StatusRecord(
                deployment_id,
                status,
                tracker.updated_at_us[deployment_id],
                tuple(
                    change for change in reversed(changes) if change.deployment_id == deployment_id
                )[:RECENT_CHANGES],
            )
            for deployment_id, status in tracker.current.items()
        )
        yield AsOf(records, await self._log.last_sequence())

    async def changes(
        self, after: int, upto: int
    ) -> AsyncGenerator[tuple[list[StatusChange], int]]:
        self.asked += 1
        _, changes = await self._folded(upto)
        yield [change for change in changes if change.sequence > after], upto

    async def _folded(self, upto: int) -> tuple[StatusTracker, list[StatusChange]]:
        fleet, tracker, changes = FleetState(), _Lasting(), []
        async for commits in read_commits(self._log, 1, upto):
            for commit in commits:
                changes += tracker.update(fleet, fleet.fold(commit))
        return tracker, changes
