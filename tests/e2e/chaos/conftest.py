"""Figures of the chaos tests: `pytest -rP` shows them, and they are in the JUnit report."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest


@pytest.fixture
def report_figures(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Return what keeps a figure of this test."""

    def report(what: str, figures: object) -> None:
        request.node.user_properties.append((what, str(figures)))
        sys.stdout.write(f"{what}: {figures}\n")

    return report
