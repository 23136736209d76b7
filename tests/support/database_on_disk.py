"""PostgreSQL as `fog up` runs it, on a folder of the test's choice, with settings of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import asyncpg

from fogbank.local.data_dir import DataDir
from fogbank.local.postgres import DATABASE, USER, PostgresServer
from tests.support.ports import free_port
from tests.support.waiting import eventually

_PASSWORD = "only-for-tests"


class DatabaseOnDisk:
    """A server on `folder`; `options` are settings such as `fsync=off`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._data = DataDir(folder)
        self._options = [part for option in options for part in ("-c", option)]
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it without waiting; the first time, make the cluster."""
        self._data.create()
        spec = PostgresServer(self._port, _PASSWORD).child(self._data)
        assert spec.before_start is not None
        spec.before_start()
        account = spec.account
        with spec.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*spec.command, *self._options],
                stdout=log,
                stderr=log,
                env=dict(spec.env) | {"PATH": os.defpath},
                cwd="/",
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                start_new_session=True,
            )

    async def connect(self) -> asyncpg.Connection:
        """Return a connection once it answers.

        Raises:
            ConnectionError: it ended, as one whose files are damaged does.
        """

        async def attempt() -> asyncpg.Connection | None:
            assert self._process is not None
            if self._process.poll() is not None:
                raise ConnectionError(f"the database ended with {self._process.returncode}")
            try:
                return await asyncpg.connect(
                    user=USER,
                    password=_PASSWORD,
                    host="127.0.0.1",
                    port=self._port,
                    database=DATABASE,
                    timeout=5,
                )
            except (OSError, asyncpg.PostgresError, TimeoutError):
                return None

        connection = await eventually(attempt, 60, what="the database's answer")
        assert connection is not None
        return connection

    @property
    def pid(self) -> int:
        """The first of its processes."""
        assert self._process is not None, "not running"
        return self._process.pid

    def ended(self) -> None:
        """Wait for its end, after somebody killed it."""
        assert self._process is not None, "not running"
        process, self._process = self._process, None
        process.wait(60)

    def stop(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self.ended()
