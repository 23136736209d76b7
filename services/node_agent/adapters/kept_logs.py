"""The last lines of containers that are gone, a file each, in a folder of their node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from threading import Lock

import structlog

from services.node_agent.adapters.node_folder import write_whole
from services.node_agent.app.ports import RuntimeFaultError
from services.node_agent.core.garbage import KeptLog, LogRules, removable_logs

_log = structlog.get_logger(__name__)

# Of one container so much is kept, from the beginning of a line on.
LINES = 1_000
BYTES = 256 * 1024
# Characters that are handed on at once.
_PIECE = 16 * 1024
_NS_PER_US = 1_000


class KeptLogs:
    """Keeps logs on the disk as long as the rules allow."""

    def __init__(self, folder: Path, rules: LogRules) -> None:
        """Use `folder`, made when it is needed."""
        self._folder = folder
        self._rules = rules
        # One at a time: what one removes another would look for.
        self._lock = Lock()

    async def keep(self, replica_id: str, restart_count: int, text: str) -> None:
        """Keep the last of what a container wrote, and remove what is too much.

        A disk that refuses keeps no container from being removed.
        """
        if not text or not self._rules.containers:
            return
        try:
            await asyncio.to_thread(self._keep, replica_id, restart_count, text)
        except OSError as error:
            _log.warning("log not kept", replica=replica_id, why=str(error))

    async def pieces(
        self, replica_id: str, tail: int, *, previous: bool, gone: bool
    ) -> AsyncIterator[str]:
        """Yield the last lines of a replica's last container, or of the one `previous` to it.

        The last one is here if it is `gone`.

        Raises:
            RuntimeFaultError: nothing is left of the previous one.
        """
        text = await asyncio.to_thread(self._read, replica_id, tail, 1 if previous and gone else 0)
        if text is None and previous:
            raise RuntimeFaultError("nothing is left of its container before")
        for start in range(0, len(text or ""), _PIECE):
            yield (text or "")[start : start + _PIECE]

    def _keep(self, replica_id: str, restart_count: int, text: str) -> None:
        data = text.encode(errors="replace")
        if len(data) > BYTES:
            data = data[-BYTES:].partition(b"\n")[2]
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A power cut may take the last ones; no container waits for the disk because of them.
            write_whole(self._path(replica_id, restart_count), data, sync=False)
            for log in removable_logs(self._all(), self._rules):
                self._path(log.replica_id, log.restart_count).unlink(missing_ok=True)

    def _read(self, replica_id: str, tail: int, newer: int) -> str | None:
        """Return the last lines of a replica's newest log but so many; None if there is none."""
        with self._lock:
            all_of_it = [each for each in self._all() if each.replica_id == replica_id]
            counts = sorted(each.restart_count for each in all_of_it)
            if len(counts) <= newer:
                return None
            data = self._path(replica_id, counts[-1 - newer]).read_bytes()
        lines = data.decode(errors="replace").splitlines(keepends=True)
        return "".join(lines[-tail:] if tail else ())

    def _path(self, replica_id: str, restart_count: int) -> Path:
        return self._folder / f"{replica_id}.{restart_count}.log"

    def _all(self) -> list[KeptLog]:
        found = []
        for path in self._folder.glob("*.log"):
            replica_id, _, count = path.stem.rpartition(".")
            if replica_id and count.isdecimal():
                stat = path.stat()
                kept_at_us = stat.st_mtime_ns // _NS_PER_US
                found.append(KeptLog(replica_id, int(count), stat.st_size, kept_at_us))
        return found
