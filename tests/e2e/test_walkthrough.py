"""The walk-through of the REST face, run as it is printed: every command, every answer shown."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.fog_up import ROOT, fog_up

DOCUMENT = ROOT / "docs" / "rest-walkthrough.md"
PRINTED_ADDRESS = "http://localhost:8000"
VARIES = "…"
# What ends the output of one block, in a shell that runs all of them.
END_MARK = "--- end of block ---"


@dataclass(frozen=True)
class Block:
    """A block of commands, and what the document says that they print."""

    line: int
    commands: str
    answer: str | None
    language: str


def blocks(document: str) -> list[Block]:
    """Return the document's commands, each with the answer printed right below it."""
    fences = list(re.finditer(r"^```(\w+)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL))
    found: list[Block] = []
    for fence, following in zip(fences, [*fences[1:], None], strict=True):
        if fence[1] != "bash":
            continue
        shown = following if following is not None and following[1] != "bash" else None
        found.append(
            Block(
                line=document.count("\n", 0, fence.start()) + 1,
                commands=fence[2],
                answer=shown[2] if shown else None,
                language=shown[1] if shown else "",
            )
        )
    return found


def matches(shown: Any, given: Any) -> bool:
    """Whether an answer is the printed one, where that says what it is."""
    if shown == VARIES:
        return given is not None
    if isinstance(shown, dict) and isinstance(given, dict):
        return shown.keys() == given.keys() and all(
            matches(value, given[name]) for name, value in shown.items()
        )
    if isinstance(shown, list) and isinstance(given, list):
        return len(shown) == len(given) and all(map(matches, shown, given))
    return type(shown) is type(given) and bool(shown == given)


def run(commands: list[str], folder: Path) -> list[str]:
    """Run blocks in one shell and return what each printed; the first that fails ends it."""
    script = "".join(f"{block}\nprintf '\\n{END_MARK}\\n'\n" for block in commands)
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=folder,
    )
    outputs = done.stdout.split(f"\n{END_MARK}\n")[:-1]
    assert done.returncode == 0, f"after {len(outputs)} blocks: {done.stderr}{done.stdout[-500:]}"
    return outputs


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl isn't installed")
def test_every_command_answers_as_printed(tmp_path: Path) -> None:
    parts = blocks(DOCUMENT.read_text())
    with fog_up() as system:
        commands = [part.commands.replace(PRINTED_ADDRESS, system.http) for part in parts]
        outputs = run(commands, tmp_path)
    assert len(outputs) == len(parts) > 0
    for part, output in zip(parts, outputs, strict=True):
        where = f"{DOCUMENT.name}:{part.line} printed {output!r}"
        if part.language == "json":
            assert part.answer is not None
            assert matches(json.loads(part.answer), json.loads(output)), where
        elif part.answer is not None:
            assert output.strip() == part.answer.strip(), where


def test_no_other_document_prints_a_request() -> None:
    others = {*DOCUMENT.parent.rglob("*.md")} - {DOCUMENT}
    assert len(others) > 5
    assert not [
        path.name for path in others if re.search(r"^\s*curl ", path.read_text(), re.MULTILINE)
    ]


def test_an_answer_that_differs_is_seen() -> None:
    shown = {"id": VARIES, "replicas": [{"status": "running"}], "total": 3}
    assert matches(shown, {"id": "a", "replicas": [{"status": "running"}], "total": 3})
    for other in (
        {"id": None, "replicas": [{"status": "running"}], "total": 3},
        {"id": "a", "replicas": [], "total": 3},
        {"id": "a", "replicas": [{"status": "failed"}], "total": 3},
        {"id": "a", "replicas": [{"status": "running"}], "total": 3.0},
        {"id": "a", "replicas": [{"status": "running"}], "total": 3, "more": 1},
    ):
        assert not matches(shown, other)
