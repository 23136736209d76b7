"""One child process that is kept running: started, watched, started again, stopped."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fogbank.local import launch
from fogbank.local.child_register import ChildRegister

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
# A child that lived this long was well: its next end is a new story.
_STEADY_S = 10.0
# How long a killed process may take to go.
_REAP_S = 2.0
_KEEP_ID = -1


@dataclass(frozen=True, slots=True)
class Account:
    """The system's user that a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run and how to end it."""

    name: str
    command: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 5.0
    # Sent by the kernel when the supervisor dies, however it dies.
    death_signal: signal.Signals = signal.SIGKILL
    account: Account | None = None
    # Makes the disk ready for a start; called before each.
    before_start: Callable[[], None] | None = None


class ChildObserver(Protocol):
    """Hears what becomes of children."""

    def child_started(self, name: str, pid: int, *, again: bool) -> None:
        """Tell of a process that was started; `again` unless it is the first of its name."""

    def child_ended(self, name: str, how: str, pause_s: float) -> None:
        """Tell of a process that ended unasked and is started again after `pause_s` seconds."""


class Child:
    """Keeps one process running until it is told to stop."""

    def __init__(self, spec: ChildSpec, register: ChildRegister, observer: ChildObserver) -> None:
        self.spec = spec
        self.ends = 0
        self._register = register
        self._observer = observer
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Start the process, and again whenever it ends, until `stop`."""
        pause_s = _FIRST_PAUSE_S
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                how = await self._run_once()
                if self._stopping.is_set():
                    return
                self.ends += 1
                if time.monotonic() - began > _STEADY_S:
                    pause_s = _FIRST_PAUSE_S
                self._observer.child_ended(self.spec.name, how, pause_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        finally:
            self.kill()
            self._ended.set()

    async def stop(self) -> None:
        """Ask the process to end, end it by force after its patience, and wait for that.

        `run` has to be running, or to have ended.
        """
        self._stopping.set()
        self._signal(self.spec.stop_signal)
        try:
            await asyncio.wait_for(self._ended.wait(), self.spec.stop_timeout_s)
        except TimeoutError:
            self.kill()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _REAP_S)

    def kill(self) -> None:
        """End the process by force, without waiting."""
        self._signal(signal.SIGKILL)

    async def _run_once(self) -> str:
        """Run the process to its end and say in words how it ended."""
        spec = self.spec
        if spec.before_start is not None:
            await asyncio.to_thread(spec.before_start)
        uid = spec.account.uid if spec.account else _KEEP_ID
        gid = spec.account.gid if spec.account else _KEEP_ID
        with spec.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__),
                *(str(os.getpid()), str(int(spec.death_signal)), str(uid), str(gid)),
                *spec.command,
                env=dict(spec.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in a terminal goes to the supervisor alone, which ends them in order.
                start_new_session=True,
            )
        self._register.started(spec.name, self._process.pid, spec.stop_signal)
        self._observer.child_started(spec.name, self._process.pid, again=self.ends > 0)
        if self._stopping.is_set():  # asked to stop while it was being started
            self._signal(spec.stop_signal)
        code = await self._process.wait()
        self._register.ended(spec.name)
        return _in_words(code)

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def _in_words(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
