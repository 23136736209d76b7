"""Where everything of one local system lies on disk, and how small files are written there."""

import fcntl
import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fogbank.local.errors import DataDirInUse, LocalError
from fogbank.runtime.private_files import write_private

DEFAULT_NAME = ".fogbank"

_PRIVATE_FOLDER = 0o700


@dataclass(frozen=True, slots=True)
class DataDir:
    """The folders and files under one root."""

    root: Path

    @property
    def state_file(self) -> Path:
        """Addresses, first user and process ids of the running system."""
        return self.root / "state.json"

    @property
    def ports_file(self) -> Path:
        """TCP ports chosen at the first start."""
        return self.root / "ports.json"

    @property
    def fleet_file(self) -> Path:
        """The simulated nodes of the last start."""
        return self.root / "fleet.json"

    @property
    def children_file(self) -> Path:
        """The processes that were started and not yet seen to end."""
        return self.root / "children.json"

    @property
    def session_file(self) -> Path:
        """Tokens that the command line got for the first user."""
        return self.root / "session.json"

    @property
    def lock_file(self) -> Path:
        """Locked while a supervisor runs."""
        return self.root / "lock"

    @property
    def secrets(self) -> Path:
        """One file for each secret, readable by its owner alone."""
        return self.root / "secrets"

    @property
    def ca(self) -> Path:
        """The fleet's own authority and what it signed; there if the system speaks TLS."""
        return self.root / "ca"

    @property
    def logs(self) -> Path:
        """One file for each child."""
        return self.root / "logs"

    @property
    def nats(self) -> Path:
        """The broker's configuration and store."""
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        """The database's cluster."""
        return self.root / "postgres"

    @property
    def checkpoints(self) -> Path:
        """Signed checkpoints of the log."""
        return self.root / "checkpoints"

    @property
    def engine_file(self) -> Path:
        """The container engine that the nodes were last started on, if it was one."""
        return self.root / "engine"

    @property
    def agents(self) -> Path:
        """What node agents keep."""
        return self.root / "agents"

    def node_folder(self, name: str) -> Path:
        """What the agent keeps of one node, by its name, whichever process hosts it."""
        return self.agents / "nodes" / name

    def log_file(self, child: str) -> Path:
        """Where the output of a child goes."""
        return self.logs / f"{child}.log"

    def create(self) -> None:
        """Make the folders that are missing.

        Raises:
            LocalError: they can't be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.secrets, self.logs, self.nats, self.agents):
                folder.mkdir(mode=_PRIVATE_FOLDER, exist_ok=True)
        except OSError as error:
            raise LocalError(
                f"cannot use {self.root} as the data directory: {error.strerror or error}; "
                "give another one with --data-dir"
            ) from error

    @property
    def in_use(self) -> bool:
        """Whether a supervisor runs on it."""
        try:
            with self.lock_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the directory for this process alone while the context lasts.

        The lock is the kernel's and goes with the process, so none is ever left behind.

        Raises:
            DataDirInUse: another process holds it.
        """
        with self.lock_file.open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                holder = lock.read().strip() or "unknown"
                raise DataDirInUse(
                    f"{self.root} is in use by another `fog up` (process {holder}); stop that one, "
                    "or give this one its own --data-dir"
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield


def write_json(path: Path, value: object) -> None:
    """Put `value` into `path` as JSON, in one step, readable by its owner alone."""
    write_private(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Return what the JSON file holds, or None if there is no such file or it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
