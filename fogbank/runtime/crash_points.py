"""Named points around every outside step, at which tests end a process by SIGKILL.

A call is one comparison and nothing more, unless FOG_TEST_BUILD=1 is set, the code runs from a
source tree (never from an installed wheel), and one of these says where to die:

- FOG_CRASH_AT=NAME:N: at the N-th time that this process passes the point NAME.
- FOG_CRASH_PLAN=FOLDER: at a point that has a file FOLDER/VICTIM/NAME, where FOG_INSTANCE begins
  with VICTIM. The file holds how many passes are left, counted over all processes it is meant for;
  the process that dies removes it first. So one supervisor's children can be killed at one point
  after the other, each start taking up what the folder holds by then.

docs/crash-points.md lists all names.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol

TEST_BUILD = "FOG_TEST_BUILD"
CRASH_AT = "FOG_CRASH_AT"
CRASH_PLAN = "FOG_CRASH_PLAN"
_INSTANCE = "FOG_INSTANCE"


class _Plan(Protocol):
    def passed(self, name: str) -> None:
        """Take note that a point was passed; end the process if it is the one."""


class _Once:
    """Ends the process at the n-th pass of one point."""

    def __init__(self, text: str) -> None:
        self._name, _, count = text.rpartition(":")
        self._left = int(count)

    def passed(self, name: str) -> None:
        if name == self._name:
            self._left -= 1
            if not self._left:
                _die()


class _Folder:
    """Ends the process at a point that a folder has a file for."""

    def __init__(self, folder: Path, instance: str) -> None:
        self._folder = folder
        self._instance = instance

    def passed(self, name: str) -> None:
        try:
            victims = sorted(self._folder.iterdir())
        except OSError:
            return
        for victim in victims:
            if self._instance.startswith(victim.name):
                self._passed(victim / name)

    @staticmethod
    def _passed(file: Path) -> None:
        try:
            left = int(file.read_text(encoding="utf-8") or 1)
            if left > 1:
                # Written only if it is still there: another victim may have died of it just now.
                with file.open("r+", encoding="utf-8") as still_there:
                    still_there.write(f"{left - 1:<{len(str(left))}}")
                return
            file.unlink()
        except (OSError, ValueError):
            return
        _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit  # unreachable: the signal is delivered before `kill` returns


def _in_source_tree(module: Path) -> bool:
    """Tell whether this module's file lies in a source tree, with the tests beside the code."""
    root = module.resolve().parents[2]
    return (root / "pyproject.toml").is_file() and (root / "tests" / "support").is_dir()


def _plan_of(environment: Mapping[str, str], module: Path) -> _Plan | None:
    if environment.get(TEST_BUILD) != "1" or not _in_source_tree(module):
        return None
    if text := environment.get(CRASH_AT):
        return _Once(text)
    if folder := environment.get(CRASH_PLAN):
        return _Folder(Path(folder), environment.get(_INSTANCE, ""))
    return None


_plan = _plan_of(os.environ, Path(__file__))


def crash_point(name: str) -> None:
    """End the process here if a test asked for it; else do nothing.

    `name` is a literal, used once in the whole source: `<part>.<before or after>-<step>`.
    """
    if _plan is not None:
        _plan.passed(name)
