"""Keeps snapshots of the folded state: made where digests are due, written once confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from fogbank.domain.fleet import FleetState
from fogbank.domain.snapshots import Snapshot, snapshot_of
from services.ledger.app.ports import StoreUnavailableError
from services.ledger.core.projection import Status

_log = structlog.get_logger(__name__)

_PAUSE_S = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the tables are: the last commit in them, and each deployment's status by its id.

    `log_times_us` are those right after every sixteenth commit (`core.log_times`).
    """

    position: int
    statuses: Mapping[str, Status]
    log_times_us: Sequence[int]


class SnapshotStore(Protocol):
    """Where snapshots are."""

    async def write(self, snapshot: Snapshot) -> None:
        """Keep one; StoreUnavailableError if that isn't certain."""

    def newest(self, upto: int | None = None) -> AsyncGenerator[Snapshot]:
        """Yield the newest one in parts, each with some of its pieces; nothing without one.

        With `upto` the newest at that position or before.
        """

    async def standing(self) -> Standing:
        """Return where the tables are; StoreUnavailableError without an answer."""


class Snapshots:
    """Takes what the fold kept and writes the latest that was confirmed; it may leave some out."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._unconfirmed: Snapshot | None = None
        self._latest: Snapshot | None = None
        self._offered = asyncio.Event()

    def offer(self, fleet: FleetState) -> None:
        """Take a snapshot away from a state whose fold has just kept one.

        It is held back until a round that counts has carried its digest: memory may be damaged
        here, and every start and every look into the past would begin with the damage.
        """
        held = self._unconfirmed
        if held is not None and held.digest == fleet.confirmed_digest:
            self._latest, self._unconfirmed = held, None
            self._offered.set()
        self._unconfirmed = snapshot_of(fleet) or self._unconfirmed

    async def run(self) -> None:
        """Write what is offered, until cancelled; nothing depends on when."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            snapshot, self._latest = self._latest, None
            if snapshot is None:
                continue
            try:
                await self._store.write(snapshot)
            except StoreUnavailableError as error:
                _log.warning("A snapshot is left out", error=error.message)
                await asyncio.sleep(_PAUSE_S)
            else:
                _log.info("Snapshot kept", sequence=snapshot.position)

    def newest(self, upto: int | None = None) -> AsyncGenerator[Snapshot]:
        """Yield the newest one (as of `upto`, if given) in parts; nothing without one."""
        return self._store.newest(upto)

    async def standing(self) -> Standing:
        """Return where the tables beside the snapshots are."""
        return await self._store.standing()
