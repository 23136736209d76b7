"""Which process is meant: a pid alone is reused by the system, pid and start time are not."""

import os
import signal
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_POLL_S = 0.02
# Fields of /proc/<pid>/stat after the command's closing parenthesis.
_STATE = 0
_START_TICKS = 19


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of this machine, for ever."""

    pid: int
    started: str  # boot id and clock ticks since that boot

    @property
    def is_alive(self) -> bool:
        """Whether it runs; one that ended and was not yet waited for does not."""
        return identify(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to its process group; False if it is gone."""
        if not self.is_alive:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_end(self, timeout_s: float) -> bool:
        """Wait until it is gone; False if it still runs after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of the process that has this pid now, or None if none runs."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    if fields[_STATE] in {"Z", "X"}:
        return None
    return ProcessIdentity(pid, f"{_boot_id()}:{fields[_START_TICKS]}")


def command_line(pid: int) -> list[str]:
    """Return the arguments that a process was started with; empty if there is none."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []
    return [part.decode(errors="replace") for part in raw.split(b"\0") if part]


@cache
def _boot_id() -> str:
    return _BOOT_ID.read_text(encoding="utf-8").strip()
