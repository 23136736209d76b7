"""An event loop whose clock jumps to the next timer when nothing is ready.

No threads, no sockets, no sleeping: an hour passes as fast as its callbacks run. Everything that
runs on behalf of a `Process` can be frozen, as SIGSTOP would, and goes on where it was.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, Self, TypeVar

T = TypeVar("T")

# The smallest span that tells two instants apart, in seconds.
_RESOLUTION_S = 1e-7


class StalledError(Exception):
    """Nothing is ready and nothing is due: everybody waits for somebody else, for ever."""


class Process:
    """One life of an actor: what is alive, what stands still, what runs no more."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.held: list[events.Handle] = []
        self.context = Context()
        self.context.run(_PROCESS.set, self)
        self.task: asyncio.Task[None] | None = None


_PROCESS: ContextVar[Process | None] = ContextVar("simulated_process", default=None)


def current_process() -> Process | None:
    """Return on whose behalf this code runs."""
    return _PROCESS.get()


class _Handle(events.Handle):
    def _run(self) -> None:
        if not _keep(self):
            super()._run()


class _TimerHandle(events.TimerHandle):
    def _run(self) -> None:
        if not _keep(self):
            super()._run()


def _keep(handle: Any) -> bool:
    """Put the handle of a frozen process aside."""
    process = handle._context.get(_PROCESS)
    if process is None or not process.frozen:
        return False
    process.held.append(handle)
    return True


class _Task(asyncio.Task[Any]):
    """A task with a hash of its own: sets of tasks come in the same order in each run."""

    serial = 0

    def __new__(cls, *args: Any, **options: Any) -> Self:
        task = super().__new__(cls)
        task.serial = next(options["loop"].serials)
        return task

    def __hash__(self) -> int:
        return self.serial

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in the order of a clock that nobody waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 0.0
        self._selector = self
        self._clock_resolution = _RESOLUTION_S
        self.serials = count(1)
        self.steps = 0
        self.set_task_factory(self._make_task)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any
    ) -> asyncio.Task[Any]:
        return _Task(coro, loop=loop, **options)

    def time(self) -> float:
        return self._now_s

    def select(self, timeout: float | None) -> list[object]:
        """Stand in for a selector: let time pass."""
        if timeout is None:
            raise StalledError
        if timeout > 0:
            scheduled: Any = self._scheduled  # type: ignore[attr-defined]
            self._now_s = max(self._now_s, scheduled[0]._when)
        self.steps += 1
        return []

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

    def _call_soon(
        self, callback: Callable[..., object], args: Any, context: Context | None
    ) -> events.Handle:
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        return self._call_soon(callback, args, context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> events.TimerHandle:
        timer: Any = _TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._scheduled, timer)  # type: ignore[attr-defined]
        timer._scheduled = True
        return timer  # type: ignore[no-any-return]

    def freeze(self, process: Process) -> None:
        """Let nothing of a process run from now on."""
        process.frozen = True

    def thaw(self, process: Process) -> None:
        """Let a frozen process go on: all that came due meanwhile comes at once."""
        process.frozen = False
        held, process.held = process.held, []
        self._ready.extend(held)  # type: ignore[attr-defined]


def pause(seconds: float) -> Awaitable[None]:
    """Wait for a span of the simulated clock."""
    return _Pause(seconds)


class _Pause:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __await__(self) -> Generator[Any, None, None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(self._seconds, _finish, future)
        try:
            yield from future
        finally:
            timer.cancel()


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a loop of its own, to its end, with all that it left behind."""
    loop = VirtualLoop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main(loop))
    finally:
        left = sorted(asyncio.all_tasks(loop), key=hash)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
