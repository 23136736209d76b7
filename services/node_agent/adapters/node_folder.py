"""The folder of a node: its identity, and who may use it.

`identity.json` holds the node's id, is written once, and has a checksum. It is a file of its own so
that a node stays who it is when its store has to be removed.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID, uuid4
from zlib import crc32

from fogbank.runtime.crash_points import crash_point
from fogbank.runtime.private_files import sync_folder
from services.node_agent.app.ports import DiskDamagedError

_CHECKSUM_DIGITS = 8


def identity_in(folder: Path, *, sync: bool) -> str:
    """Return the id of the node whose folder it is, made at the first call ever.

    Raises:
        DiskDamagedError: the file that holds it is unreadable.
    """
    path = folder / "identity.json"
    if not path.exists():
        node_id = str(uuid4())
        write_whole(path, _line({"node_id": node_id}), sync=sync)
        return node_id
    try:
        return str(UUID(_content(path.read_bytes().rstrip(b"\n"))["node_id"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DiskDamagedError(f"{path} is damaged: {error}") from error


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


def write_whole(path: Path, data: bytes, *, sync: bool) -> None:
    """Write a file beside its name, then give it that: it is there as a whole or as it was."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write_all(descriptor, data)
        if sync:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    crash_point("agent.before-file-rename")
    beside.replace(path)
    crash_point("agent.after-file-rename")
    if sync:
        sync_folder(path.parent)


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
