"""A service from start to end.

Resources live on one exit stack, loops in one task group, SIGTERM and SIGINT set one event. On the
way out: stop callbacks (health, accepting, calls in flight), then the loops are cancelled, then
the resources are closed in reverse order. A loop that ends, however it ends, ends the process with
exit code 1: a supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack
from typing import NoReturn, TypeVar

import structlog

from fogbank.domain.errors import FogError
from fogbank.runtime import logging, metrics
from fogbank.runtime.operator_error import OperatorError
from fogbank.runtime.settings import Settings

_log = structlog.get_logger(__name__)

T = TypeVar("T")
Setup = Callable[["Service"], Awaitable[None]]

_STOP_TIMEOUT_S = 15.0
_CANCEL_AGAIN_S = 1.0
EXIT_FAILURE = 1
# systemd is shown so often within its span that the loop turns.
_WATCHDOG_SHARE = 3


class LoopEndedError(Exception):
    """A loop that should run for ever returned."""


class Service:
    """What a composition root builds with: resources, loops, and what to do first at the end."""

    def __init__(self, stack: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        self._stack = stack
        self._group = group
        self._loops: list[asyncio.Task[None]] = []
        self._on_stop: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        self.stopping = asyncio.Event()
        self._building: asyncio.Timeout | None = None

    async def enter(self, resource: AbstractAsyncContextManager[T]) -> T:
        """Open a resource; it is closed at the end, after all loops."""
        return await self._stack.enter_async_context(resource)

    def enter_sync(self, resource: AbstractContextManager[T]) -> T:
        """As `enter`, for a resource that opens and closes without waiting."""
        return self._stack.enter_context(resource)

    def start_loop(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Start a loop that runs as long as the service; the process ends when it does."""
        self._loops.append(self._group.create_task(self._run_loop(name, loop), name=name))

    def on_stop(self, name: str, callback: Callable[[], Awaitable[None]]) -> None:
        """Call this first when the service stops; the last one added is called first."""
        self._on_stop.append((name, callback))

    def request_stop(self) -> None:
        """Stop as on SIGTERM; a service that is still being built stops building."""
        self.stopping.set()
        if self._building is not None:
            self._building.reschedule(asyncio.get_running_loop().time())

    async def build(self, setup: Setup) -> bool:
        """Run `setup` in this task; False if a stop was requested before it was done."""
        self._building = asyncio.timeout(None)
        try:
            async with self._building:
                await setup(self)
        except TimeoutError:
            if not self._building.expired():
                raise
        finally:
            self._building = None
        return not self.stopping.is_set()

    async def _run_loop(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        alive = metrics.LOOP_ALIVE.labels(name)
        alive.set(1)
        try:
            await loop()
            raise LoopEndedError(f"the loop {name!r} returned")
        except Exception as error:
            # What it says is told at the end, once, however many loops die of it.
            _log.error("loop died", loop=name, kind=type(error).__name__)
            raise
        finally:
            alive.set(0)

    async def stop(self) -> None:
        """Run the stop callbacks, then cancel the loops."""
        self.stopping.set()
        for name, callback in reversed(self._on_stop):
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await callback()
            except Exception as error:  # noqa: BLE001 (one step must not keep the next from running)
                _log.error("stopping step failed", step=name, exc_info=error)
        running = {task for task in self._loops if not task.done()}
        while running:
            # More than once: a library may forget that it was cancelled.
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_S)


async def serve(setup: Setup) -> int:
    """Run a service until a signal or a dead loop; return the exit code.

    `setup` builds the service; the loops it starts run at once, beside the rest of it. When it
    returns, the service is ready.
    """
    failed = False
    try:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            service = Service(stack, group)
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, service.request_stop)
                stack.callback(loop.remove_signal_handler, number)
            try:
                if await service.build(setup):
                    _log.info("ready")
                    notify_supervisor("READY=1")
                    if pause_s := _watchdog_pause_s():
                        service.start_loop("watchdog", lambda: _feed_watchdog(pause_s))
                    await service.stopping.wait()
                _log.info("stopping")
            finally:
                notify_supervisor("STOPPING=1")
                await service.stop()
    except* Exception as errors:  # noqa: BLE001 (the process ends here, whatever it was)
        failed = True
        _report(errors, set())
    if failed:
        return EXIT_FAILURE
    _log.info("stopped")
    return 0


def _report(errors: BaseExceptionGroup[Exception], told: set[str]) -> None:
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            _report(error, told)
            continue
        text = f"{type(error).__name__}: {error}"
        if text in told:
            continue
        told.add(text)
        known = isinstance(error, OperatorError | FogError | OSError)
        _log.critical("service failed", error=text, exc_info=None if known else error)


def run(settings: Settings, setup: Setup) -> NoReturn:
    """Run a service as a process: log lines, metrics, event loop, exit code."""
    logging.configure(settings.service, settings.instance, settings.log_level, settings.log_format)

    async def with_metrics(service: Service) -> None:
        if settings.metrics_listen is not None:
            port = service.enter_sync(metrics.exposition(settings.metrics_listen))
            _log.info("listening", protocol="metrics", port=port)
        await setup(service)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(serve(with_metrics))
    raise SystemExit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 (not everywhere to be had)
    except ImportError:
        return None
    return uvloop.new_event_loop


def _watchdog_pause_s() -> float:
    """Return how often systemd is to be shown that the event loop turns; 0 for never."""
    span_us, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not span_us.isdecimal() or pid not in {"", str(os.getpid())}:
        return 0
    return int(span_us) / 1_000_000 / _WATCHDOG_SHARE


async def _feed_watchdog(pause_s: float) -> None:
    while True:
        notify_supervisor("WATCHDOG=1")
        await asyncio.sleep(pause_s)


def notify_supervisor(state: str) -> None:
    """Tell systemd, if it started us and listens (Type=notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            # One that doesn't listen must not hold us up.
            channel.setblocking(False)
            channel.connect(address)
            channel.sendall(state.encode())
    except OSError as error:
        _log.warning("cannot notify the supervisor", error=str(error))
