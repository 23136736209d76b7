"""Waiting for something to become true: the only module of the tests that may sleep.

A test never waits for an amount of time, it waits for a condition. Both helpers return what the
predicate returned, so that the thing waited for can be used at once.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

# So long may anything take that takes a moment on a machine with nothing else to do.
PATIENCE_S = 60.0

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.25


@overload
async def eventually(
    predicate: Callable[[], Awaitable[T]],
    timeout_s: float = PATIENCE_S,
    what: str = "the condition",
) -> T: ...


@overload
async def eventually(
    predicate: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "the condition"
) -> T: ...


async def eventually(
    predicate: Callable[[], Any],
    timeout_s: float = PATIENCE_S,
    what: str = "the condition",
) -> Any:
    """Call `predicate` (plain or async) until it returns something true, and return that.

    Raises:
        AssertionError: nothing true within `timeout_s` seconds; names `what` and the last answer.
            An exception of the predicate isn't caught: it ends the wait.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        answer = predicate()
        result = await answer if inspect.isawaitable(answer) else answer
        if result:
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(what, timeout_s, result))
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


async def pause(seconds: float) -> None:
    """Let time pass, for stand-ins that are slow on purpose; no test may depend on how slow."""
    await asyncio.sleep(seconds)


def eventually_sync(
    predicate: Callable[[], T],
    timeout_s: float = PATIENCE_S,
    what: str = "the condition",
) -> T:
    """As `eventually`, for tests and fixtures without an event loop."""
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_PAUSE_S
    while True:
        result = predicate()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(what, timeout_s, result))
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def _complaint(what: str, timeout_s: float, last: object) -> str:
    return f"{what} did not come true within {timeout_s:g} s; the last answer was {last!r}"
