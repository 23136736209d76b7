"""The node's memory in a SQLite database of its folder: `agent.sqlite`.

It is written ahead (WAL) and synced at every save (`synchronous=FULL`): one sync for each, and two
more whenever the log is worked into the file. It holds the environments of replicas: only its
owner may read it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TypeVar

from fogbank.runtime.crash_points import crash_point
from fogbank.runtime.private_files import sync_folder
from services.node_agent.adapters import store_tables
from services.node_agent.adapters.node_folder import identity_in
from services.node_agent.adapters.write_ahead import damage_in
from services.node_agent.app.ports import DiskDamagedError
from services.node_agent.core.kept import Entry, Kept

T = TypeVar("T")

_NAME = "agent.sqlite"
# The log is worked into the file when it is so long, in pages of 4 KiB.
_LOG_PAGES = 100
# Of each node in KiB: a process may have a thousand of them.
_CACHE_KIB = 64
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PRIMARY_CODE = 0xFF
# Files in which an earlier release kept what this one keeps in the database.
_FORMER = ("state.json", "journal-*.log")


class SqliteStore:
    """A `NodeDisk` in a folder of its own."""

    def __init__(self, folder: Path, pool: Executor, *, sync: bool = True) -> None:
        """Use `folder`, made if missing; all work is done in `pool`.

        Without `sync` a power cut may lose what was saved, or all: for trials with many nodes only.
        """
        self._folder = folder
        self._path = folder / _NAME
        self._pool = pool
        self._sync = sync
        self._connection: sqlite3.Connection | None = None
        # A save whose caller was cancelled goes on, and the next one waits for it.
        self._lock = Lock()

    async def node_id(self) -> str:
        """Return the node's id, made at the first call ever.

        Raises:
            DiskDamagedError: the file that holds it is unreadable.
        """
        return await self._in_pool(self._identity)

    async def load(self) -> tuple[str, Kept]:
        return await self._in_pool(self._load)

    async def save(self, entries: Sequence[Entry], kept: Kept) -> None:
        await self._in_pool(lambda: self._save(entries, kept))

    async def close(self) -> None:
        await self._in_pool(self._close)

    async def _in_pool(self, work: Callable[[], T]) -> T:
        def alone() -> T:
            with self._lock:
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._pool, alone)

    def _identity(self) -> str:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return identity_in(self._folder, sync=self._sync)

    def _load(self) -> tuple[str, Kept]:
        node_id = self._identity()
        self._refuse_former()
        self._look_at_log()
        self._close()
        try:
            with self._telling():
                return node_id, self._read()
        except BaseException:
            self._close()
            raise

    def _read(self) -> Kept:
        connection = self._open()
        self._check(connection)
        store_tables.open_tables(connection)
        # A round of the log begins with what is saved from here on.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            return store_tables.read(connection)
        except ValueError as error:
            raise DiskDamagedError(f"{self._path} is damaged: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            if self._sync:
                sync_folder(self._folder)
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection = connection
        # Nobody else is let in, so no third file is needed to share the log.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'OFF'}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        return connection

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _save(self, entries: Sequence[Entry], kept: Kept) -> None:
        connection = self._connection
        if connection is None:
            raise OSError(f"{self._path} is not open")
        crash_point("agent.before-store-write")
        with self._telling():
            connection.execute("BEGIN IMMEDIATE")
            try:
                store_tables.write(connection, entries, kept)
                crash_point("agent.before-store-commit")
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    # --- damage -----------------------------------------------------------------------------

    def _refuse_former(self) -> None:
        former = [path.name for name in _FORMER for path in sorted(self._folder.glob(name))]
        if former and not self._path.exists():
            raise DiskDamagedError(
                f"{self._folder} was written by an earlier release ({', '.join(former)}), which "
                "this one can't read. Remove these files, not identity.json: the node stays who "
                "it is, finds its containers, and is told what to run; what it had not reported "
                "yet is reported as it is then"
            )

    def _look_at_log(self) -> None:
        log = self._path.with_name(f"{_NAME}-wal")
        # What was not synced need not be there after a power cut, and says nothing of damage.
        if self._sync and log.exists() and (damage := damage_in(log.read_bytes())):
            raise DiskDamagedError(f"{log} {damage}")

    def _check(self, connection: sqlite3.Connection) -> None:
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise DiskDamagedError(f"{self._path} is damaged: {found}")
        written = store_tables.format_of(connection)
        if written > store_tables.FORMAT:
            raise DiskDamagedError(f"{self._path} is of another release: format {written}")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell damage from a disk that is full or away.

        Raises:
            DiskDamagedError: the file is not what was written.
            OSError: the disk refuses.
        """
        try:
            yield
        except sqlite3.Error as error:
            if (getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE) in _DAMAGE:
                raise DiskDamagedError(f"{self._path} is damaged: {error}") from error
            raise OSError(f"{self._path}: {error}") from error
