"""A module is a room, a function fits on a screen."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source_tree import SourceFile, report, source_files

pytestmark = pytest.mark.xdist_group("source")

MODULE_GUIDELINE = 400
MODULE_LIMIT = 450
FUNCTION_LIMIT = 60


def test_modules_stay_readable() -> None:
    problems = [
        f"{file.path}: {lines} lines"
        for file in source_files()
        if (lines := file.text.count("\n")) > MODULE_LIMIT
    ]
    assert not problems, report(
        problems,
        f"The guideline is {MODULE_GUIDELINE} lines, the limit {MODULE_LIMIT}. Find the second "
        "subject in the module and give it a module of its own, named for that subject.",
    )


def test_functions_fit_on_a_screen() -> None:
    problems = [
        f"{file.path}:{function.lineno} {function.name}: {lines} lines"
        for file in source_files()
        for function in _functions(file)
        if (lines := _length(function)) > FUNCTION_LIMIT
    ]
    assert not problems, report(
        problems,
        f"The limit is {FUNCTION_LIMIT} lines, docstring not counted. Name a step of the function "
        "and make that step a function.",
    )


def _functions(file: SourceFile) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(file.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring."""
    end = function.end_lineno or function.lineno
    total = end - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None and first.end_lineno is not None:
        total -= first.end_lineno - first.lineno + 1
    return total
