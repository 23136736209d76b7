"""Mistakes to plant: each switch breaks production code (or an adapter's fake) in one way.

They prove that the simulation sees. A mistake that is planted in some processes only shows that
readers who come to different states are noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from tests.simulation.loop import current_process

Patches = Sequence[AbstractContextManager[Any]]
BUGS: dict[str, Callable[[], Patches]] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Run with a mistake in the code."""
    with ExitStack() as stack:
        for each in BUGS[name]():
            stack.enter_context(each)
        yield


def bug(make: Callable[[], Patches]) -> Callable[[], Patches]:
    """Register a mistake under its function's name."""
    BUGS[make.__name__.replace("_", "-")] = make
    return make


def runs_in(prefix: str) -> bool:
    """Tell whether this code runs in a process of that name."""
    process = current_process()
    return process is not None and process.name.startswith(prefix)
