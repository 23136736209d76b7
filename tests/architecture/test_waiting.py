"""Tests wait for conditions, never for time."""

import ast

import pytest

from tests.architecture.source_tree import report, source_files

pytestmark = pytest.mark.xdist_group("source")

SLEEPS = frozenset({"time.sleep", "asyncio.sleep"})
MAY_SLEEP = "tests/support/waiting.py"


def test_only_the_waiting_module_sleeps() -> None:
    problems = [
        f"{file.path}:{call.lineno} {name}"
        for file in source_files()
        if file.path.startswith("tests/") and file.path != MAY_SLEEP
        for call, name in file.calls()
        if name in SLEEPS and not _only_yields(call)
    ]
    assert not problems, report(
        problems,
        "Use eventually() or eventually_sync() from tests.support.waiting, an asyncio.Event, or "
        "a clock that the test moves. (asyncio.sleep(0), which only yields, is fine.)",
    )


def _only_yields(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and first.value == 0
