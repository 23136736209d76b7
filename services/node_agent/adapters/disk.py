"""The node's memory in a folder: an identity, a state file, and a journal of what came after it.

- `identity.json`: the node's id; written once.
- `state.json`: the whole state, and the number of the journal that continues it.
- `journal-<number>.log`: one line per save, each with a checksum. A line is all or nothing: one
  that a crash left unfinished at the end is cut off, damage anywhere else is an error.

Whole files are written beside their name, synced, and renamed; the journal is synced after each
line. Files hold the environments of replicas: only their owner may read them.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4
from zlib import crc32

from fogbank.runtime.crash_points import crash_point
from services.node_agent.adapters.entries import (
    decode_entry,
    decode_kept,
    encode_entry,
    encode_kept,
)
from services.node_agent.app.ports import DiskDamagedError
from services.node_agent.core.kept import Entry, Kept, apply

_FORMAT = 1
# A journal is folded into the state file when it is larger than this and than the state itself.
_JOURNAL_BYTES = 64 * 1024
_CHECKSUM_DIGITS = 8


class FolderDisk:
    """A `NodeDisk` in a folder of its own. Files are open only while they are written."""

    def __init__(self, folder: Path, pool: Executor, *, sync: bool = True) -> None:
        """Use `folder`, made if missing; all work is done in `pool`.

        Without `sync` a power cut may lose what was saved: for trials with many nodes only.
        """
        self._folder = folder
        self._pool = pool
        self._sync = sync
        self._journal = 0
        self._journal_bytes = 0
        self._state_bytes = 0

    async def node_id(self) -> str:
        """Return the node's id, made at the first call ever.

        Raises:
            DiskDamagedError: the file that holds it is unreadable.
        """

        def read() -> str:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._identity()

        return await asyncio.get_running_loop().run_in_executor(self._pool, read)

    async def load(self) -> tuple[str, Kept]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._load)

    async def save(self, entries: Sequence[Entry], kept: Kept) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._pool, self._save, entries, kept)

    def _load(self) -> tuple[str, Kept]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        node_id = self._identity()
        kept = self._state()
        self._replay(kept)
        for path in self._folder.glob("journal-*.log"):
            if path != self._journal_path:
                path.unlink()
        return node_id, kept

    def _save(self, entries: Sequence[Entry], kept: Kept) -> None:
        line = _line([encode_entry(entry) for entry in entries])
        self._append(line)
        if self._journal_bytes > max(_JOURNAL_BYTES, self._state_bytes):
            self._compact(kept)

    # --- identity ---------------------------------------------------------------------------

    def _identity(self) -> str:
        path = self._folder / "identity.json"
        if not path.exists():
            node_id = str(uuid4())
            self._write_whole(path, _line({"node_id": node_id}))
            return node_id
        content = self._read_whole(path)
        try:
            return str(UUID(content["node_id"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DiskDamagedError(f"{path} holds no node id") from error

    # --- state and journal ------------------------------------------------------------------

    @property
    def _state_path(self) -> Path:
        return self._folder / "state.json"

    @property
    def _journal_path(self) -> Path:
        return self._folder / f"journal-{self._journal}.log"

    def _state(self) -> Kept:
        if not self._state_path.exists():
            return Kept()
        content = self._read_whole(self._state_path)
        try:
            if content["format"] != _FORMAT:
                raise DiskDamagedError(f"{self._state_path} is of another release")
            self._journal = content["journal"]
            self._state_bytes = self._state_path.stat().st_size
            return decode_kept(content["kept"])
        except (KeyError, TypeError, ValueError) as error:
            raise DiskDamagedError(f"{self._state_path} can't be read: {error}") from error

    def _replay(self, kept: Kept) -> None:
        path = self._journal_path
        if not path.exists():
            return
        data = path.read_bytes()
        good = 0
        while good < len(data):
            end = data.find(b"\n", good)
            if end < 0:
                break
            try:
                entries = [decode_entry(value) for value in _content(data[good:end])]
            except ValueError as error:
                if end + 1 < len(data):
                    raise DiskDamagedError(
                        f"{path} is damaged at byte {good}, and goes on after it: {error}"
                    ) from error
                break
            for entry in entries:
                apply(kept, entry)
            good = end + 1
        if good < len(data):
            os.truncate(path, good)
        self._journal_bytes = good

    def _append(self, line: bytes) -> None:
        is_new = self._journal_bytes == 0
        crash_point("agent.before-journal-write")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._journal_path, flags, 0o600)
        try:
            _write_all(descriptor, line)
            crash_point("agent.before-journal-sync")
            if self._sync:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            self._sync_folder()
        self._journal_bytes += len(line)

    def _compact(self, kept: Kept) -> None:
        """Write the whole state, then begin the next journal."""
        content = {"format": _FORMAT, "journal": self._journal + 1, "kept": encode_kept(kept)}
        line = _line(content)
        self._write_whole(self._state_path, line)
        old = self._journal_path
        self._journal += 1
        self._journal_bytes = 0
        self._state_bytes = len(line)
        old.unlink(missing_ok=True)

    # --- files ------------------------------------------------------------------------------

    def _read_whole(self, path: Path) -> Any:
        try:
            return _content(path.read_bytes().rstrip(b"\n"))
        except ValueError as error:
            raise DiskDamagedError(f"{path} is damaged: {error}") from error

    def _write_whole(self, path: Path, data: bytes) -> None:
        beside = path.with_suffix(".new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, data)
            if self._sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        crash_point("agent.before-file-rename")
        beside.replace(path)
        crash_point("agent.after-file-rename")
        self._sync_folder()

    def _sync_folder(self) -> None:
        if not self._sync:
            return
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class FolderInUseError(Exception):
    """Another agent has the folder; the text names it."""


class FolderLock:
    """Keeps a second agent out of a data folder, for as long as this process lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            FolderInUseError: somebody else has it.
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "agent.lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise FolderInUseError(f"another agent runs on {self._folder}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        os.close(self._descriptor)


def _line(content: Any) -> bytes:
    body = json.dumps(content, separators=(",", ":")).encode()
    return _checksum(body) + b" " + body + b"\n"


def _checksum(body: bytes) -> bytes:
    return f"{crc32(body):0{_CHECKSUM_DIGITS}x}".encode()


def _content(line: bytes) -> Any:
    """Return what a line holds; ValueError if its checksum isn't right."""
    body = line[_CHECKSUM_DIGITS + 1 :]
    if line[:_CHECKSUM_DIGITS] != _checksum(body):
        raise ValueError("its checksum differs")
    return json.loads(body)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
