"""Where deployments stood at a past moment: the part of it that a folded state doesn't say."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from fogbank.domain.status import StatusChange, of_this_life
from services.ledger.app.progress import Progress


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a deployment stood, which a folded state doesn't say; newest change first."""

    deployment_id: str
    changes: tuple[StatusChange, ...]


class History(Protocol):
    """Changes of status, and when commits were appended; StoreUnavailableError as the tables."""

    async def changes(
        self, deployment_ids: Collection[str], upto: int, most: int
    ) -> Mapping[str, tuple[StatusChange, ...]]:
        """Return the latest changes up to a sequence of each deployment, newest first."""

    async def appended_at_us(self, first: int, last: int) -> Sequence[int]:
        """Return when the commits `first` to `last` were appended."""

    async def latest_appended_us(self, sequences: Collection[int]) -> Mapping[int, int]:
        """Return as `LogTimes.of` takes it."""


class Standings:
    """Answers when commits were in log time, and where deployments stood."""

    def __init__(self, history: History, progress: Progress) -> None:
        self._history = history
        self._progress = progress

    async def log_times_us(self, sequences: Collection[int]) -> Mapping[int, int]:
        """Return the log times right after some commits."""
        latest = await self._history.latest_appended_us(sequences)
        return self._progress.log_times.of(latest)

    async def of(self, deployment_ids: Sequence[str], upto: int, most: int) -> list[Standing]:
        """Return where deployments stood right after a commit; left out is who wasn't there.

        Each comes with at most so many changes.
        """
        changes = await self._history.changes(deployment_ids, upto, most)
        return [Standing(id_, of_this_life(changes[id_])) for id_ in deployment_ids if changes[id_]]
