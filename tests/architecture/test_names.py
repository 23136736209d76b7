"""A module is named for its subject; a drawer for everything has none."""

from pathlib import PurePosixPath

import pytest

from tests.architecture.source_tree import report, source_files

pytestmark = pytest.mark.xdist_group("source")

DRAWERS = frozenset(
    {"common", "helper", "helpers", "misc", "shared", "stuff", "tools", "util", "utils"}
)


def test_no_module_is_a_drawer() -> None:
    problems = [
        file.path
        for file in source_files()
        if DRAWERS.intersection(PurePosixPath(file.path).with_suffix("").parts)
    ]
    assert not problems, report(
        problems,
        "Name the module for the one thing it knows, or put the function where it is used.",
    )
