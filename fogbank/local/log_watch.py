"""Reads what children write to their logs: errors for the terminal, last lines for a report."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from fogbank.local.disk_trouble import DiskTrouble

_LARGEST_LOG = 64 * 1024 * 1024
_TAIL_BYTES = 16_384
_MOST_READ = 1024 * 1024
_SERIOUS = frozenset({"ERROR", "CRITICAL"})
_LONGEST_LINE = 500


class LogWatch:
    """Follows log files and picks out errors."""

    def __init__(self, trouble: DiskTrouble) -> None:
        self._trouble = trouble
        self._offsets: dict[Path, int] = {}

    def start(self, path: Path) -> None:
        """Follow the file from its present end; one that grew too large begins anew."""
        if path not in self._offsets:
            self._begin_anew_if_large(path)
            self._offsets[path] = 0
            with self._shown(path):
                self._offsets[path] = path.stat().st_size if path.exists() else 0

    def new_errors(self) -> Iterator[tuple[str, str]]:
        """Yield the log's name and the text of each error written since the last call."""
        for path in tuple(self._offsets):
            lines: list[str] = []
            with self._shown(path):
                lines = self._new_lines(path)
            if lines:
                self._begin_anew_if_large(path)
            for line in lines:
                if (text := _error_text(line)) is not None:
                    yield path.stem, text

    def _shown(self, path: Path) -> AbstractContextManager[None]:
        return self._trouble.borne(f"errors in {path} are not shown")

    def _begin_anew_if_large(self, path: Path) -> None:
        with self._trouble.borne(f"{path} grows on, large as it is"):
            begin_anew_if_large(path)

    def _new_lines(self, path: Path) -> list[str]:
        """Return the whole lines written since the last call."""
        offset = self._offsets[path]
        try:
            size = path.stat().st_size
            if size == offset:
                return []
            with path.open("rb") as file:
                file.seek(offset if size > offset else 0)
                data = file.read(_MOST_READ)
                complete = data.rfind(b"\n") + 1
                if not complete and len(data) == _MOST_READ:
                    complete = len(data)  # of a line that is longer than any error: passed over
                self._offsets[path] = file.tell() - (len(data) - complete)
        except FileNotFoundError:
            return []
        return data[:complete].decode(errors="replace").splitlines()


def begin_anew_if_large(path: Path) -> None:
    """Copy a large log to NAME.log.1 and empty it.

    Its writer goes on in the same file, since it only appends.
    """
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        import shutil

        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        with path.open("r+b") as file:
            file.truncate(0)


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log, those of JSON as plain text."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [_plain(line) for line in lines[-count:]]


def _error_text(line: str) -> str | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    if str(record.get("level", "")).upper() not in _SERIOUS:
        return None
    return _plain(line)


def _plain(line: str) -> str:
    if line.startswith("{"):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if isinstance(record, dict) and "event" in record:
            reason = record.get("error") or str(record.get("exception", "")).strip()
            detail = f": {str(reason).splitlines()[-1]}" if reason else ""
            line = f"{str(record.get('level', '')).upper()} {record['event']}{detail}"
    return line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…"
