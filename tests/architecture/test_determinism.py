"""Scores come out the same on every processor: only operations that round the same everywhere."""

import ast

import pytest

from tests.architecture.source_tree import SourceFile, report, source_files

pytestmark = pytest.mark.xdist_group("source")

# Results of these were seen to change with the features of the processor, or depend on the order
# in which a library adds things up.
UNSTABLE_NUMBERS = frozenset(
    {
        f"{module}.{function}"
        for module in ("numpy", "math")
        for function in ("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "pow")
    }
    | {
        f"numpy.{function}"
        for function in (
            "average", "convolve", "dot", "einsum", "float_power", "inner", "matmul", "mean",
            "median", "power", "std", "tensordot", "var", "vdot",
        )
    }
)  # fmt: skip
NEEDS_STABLE_KIND = frozenset({"numpy.argsort", "numpy.sort"})
STABLE_METHODS = frozenset({"argsort"})

PLACEMENT = [
    pytest.param(file, id=file.path)
    for file in source_files()
    if file.path.startswith("fogbank/placement/")
]


@pytest.mark.parametrize("file", PLACEMENT)
def test_placement_uses_only_exactly_rounded_operations(file: SourceFile) -> None:
    problems = [
        f"{file.path}:{line} uses {name}"
        for line, name in file.references()
        if name in UNSTABLE_NUMBERS
    ]
    problems += [
        f"{file.path}:{node.lineno} multiplies matrices"
        for node in ast.walk(file.tree)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult)
    ]
    assert not problems, report(
        problems,
        "Scores use elementwise + - * / sqrt minimum maximum; powers of ten come from the "
        "checked-in table, means and deviations are written out.",
    )


@pytest.mark.parametrize("file", PLACEMENT)
def test_placement_sorts_stably(file: SourceFile) -> None:
    problems = [
        f"{file.path}:{call.lineno} {name} without kind='stable'"
        for call, name in file.calls()
        if (name in NEEDS_STABLE_KIND or name.rpartition(".")[2] in STABLE_METHODS)
        and not _asks_for_stable(call)
    ]
    assert not problems, report(problems, "Ties must fall the same way: pass kind='stable'.")


def _asks_for_stable(call: ast.Call) -> bool:
    return any(
        keyword.arg == "kind"
        and isinstance(keyword.value, ast.Constant)
        and keyword.value.value == "stable"
        for keyword in call.keywords
    )
