"""The same log gives the same rounds, whatever the hash seed and the processor."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module

import pytest

from tests.property.placement.long_story import tell


def _switchable_features() -> str:
    """Return the processor's features that numpy can be told not to use."""
    core = import_module("numpy._core._multiarray_umath")
    present: dict[str, bool] = core.__cpu_features__
    return " ".join(name for name in core.__cpu_dispatch__ if present.get(name))


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_rounds_do_not_depend_on_hash_seed_or_processor_features(seed: str) -> None:
    here = tell(7)
    assert len(here) > 60
    elsewhere = subprocess.run(
        [sys.executable, "-m", "tests.property.placement.long_story"],
        env={
            **os.environ,
            "PYTHONHASHSEED": seed,
            "NPY_DISABLE_CPU_FEATURES": _switchable_features(),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    assert elsewhere.stdout.split() == here
