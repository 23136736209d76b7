"""A process dies at a named point, and only a test build in a source tree does."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fogbank.runtime import crash_points
from tests.support.crash_points import CrashPlan
from tests.support.fog_up import ROOT

SAID = "passed"


def run(root: Path, **env: str) -> tuple[int, int]:
    """Pass `a.before-b` three times in a process of its own; return exit code, passes lived."""
    program = (
        "from fogbank.runtime.crash_points import crash_point\n"
        "for _ in range(3):\n"
        "    crash_point('a.before-other')\n"
        "    crash_point('a.before-b')\n"
        f"    print({SAID!r}, flush=True)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-S", "-c", program],
        env={"PYTHONPATH": str(root), "PATH": os.environ["PATH"]} | env,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=root,
    )
    return ended.returncode, ended.stdout.count(SAID)


def test_the_process_dies_at_the_nth_pass() -> None:
    died = run(ROOT, FOG_TEST_BUILD="1", FOG_CRASH_AT="a.before-b:3")
    assert died == (-signal.SIGKILL, 2)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"FOG_CRASH_AT": "a.before-b:1"},
        {"FOG_CRASH_AT": "a.before-b:1", "FOG_TEST_BUILD": "0"},
        {"FOG_TEST_BUILD": "1"},
        {"FOG_CRASH_AT": "a.before-c:1", "FOG_TEST_BUILD": "1"},
        {"FOG_CRASH_AT": "a.before-b:4", "FOG_TEST_BUILD": "1"},
    ],
    ids=["nothing", "no-test-build", "test-build-0", "no-point", "another-point", "later"],
)
def test_the_process_lives_otherwise(env: dict[str, str]) -> None:
    assert run(ROOT, **env) == (0, 3)


def test_an_installed_package_never_dies_of_it(tmp_path: Path) -> None:
    installed = tmp_path / "site-packages" / "fogbank"
    (installed / "runtime").mkdir(parents=True)
    for name in ("__init__.py", "runtime/__init__.py", "runtime/crash_points.py"):
        shutil.copy(ROOT / "fogbank" / name, installed / name)
    env = {"FOG_TEST_BUILD": "1", "FOG_CRASH_AT": "a.before-b:1"}
    assert run(tmp_path / "site-packages", **env) == (0, 3)


def test_a_plan_kills_one_process_of_a_kind_and_is_carried_out_then(tmp_path: Path) -> None:
    plan = CrashPlan(tmp_path / "plan")
    env = plan.environment
    plan.arm("gateway", "a.before-b", passes=5)
    assert run(ROOT, FOG_INSTANCE="ledger-1", **env) == (0, 3), "somebody else"
    assert run(ROOT, FOG_INSTANCE="gateway-1", **env) == (0, 3), "two passes are left"
    assert run(ROOT, FOG_INSTANCE="gateway-2", **env) == (-signal.SIGKILL, 1)
    assert not plan.armed("gateway", "a.before-b")
    assert run(ROOT, FOG_INSTANCE="gateway-2", **env) == (0, 3)


def test_a_plan_that_is_taken_back_kills_nobody(tmp_path: Path) -> None:
    plan = CrashPlan(tmp_path / "plan")
    plan.arm("gateway", "a.before-b")
    assert plan.disarm("gateway", "a.before-b")
    assert run(ROOT, FOG_INSTANCE="gateway-1", **plan.environment) == (0, 3)
    assert not plan.disarm("gateway", "a.before-b")


def test_this_very_process_is_safe() -> None:
    crash_points.crash_point("a.before-b")
