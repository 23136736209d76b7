"""Documents show commands that there are: each `fog ...` in them, word by word, flag by flag."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from fogbank.cli.main import application
from tests.architecture.source_tree import ROOT, tracked_paths

# In code blocks a command begins a line, in sentences it stands between backticks.
SHOWN = re.compile(r"(?:`|^(?:\$ )?(?:\.venv/bin/)?)fog ([a-z][^`#\n]*)", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
FOG = typer.main.get_command(application())
PAGES = sorted(
    name
    for name in tracked_paths()
    if name == "README.md" or (name.startswith("docs/") and name.endswith(".md"))
)


def commands_in(text: str) -> Iterator[str]:
    """Yield what documents show after `fog`; a|b|c stands for three commands."""
    for shown in SHOWN.findall(text):
        own, _, _ = shown.partition(" -- ")
        head, *rest = own.split()
        words = [head, *rest]
        choices = next((each for each in words if "|" in each and each[0].isalpha()), "")
        for choice in choices.split("|"):
            yield " ".join(choice if each == choices else each for each in words)


def problem_with(shown: str) -> str:
    """Say what of a command there is not; empty if there is all of it."""
    command: Any = FOG
    for word in shown.split():
        if word.startswith("-") or not hasattr(command, "commands"):
            break
        if word not in command.commands:
            return f"no such command: {word}"
        command = command.commands[word]
    known = {opt for each in command.params for opt in (*each.opts, *each.secondary_opts)}
    missing = sorted(set(FLAG.findall(shown)) - known - {"--help", "-h"})
    return f"no such flag: {', '.join(missing)}" if missing else ""


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_documents_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = [(shown, problem_with(shown)) for shown in commands_in(text)]
    assert [f"fog {shown}: {problem}" for shown, problem in found if problem] == []


def test_a_command_that_is_not_there_is_seen() -> None:
    assert list(commands_in("see `fog rollout status|undo`")) == ["rollout status", "rollout undo"]
    assert problem_with("audit vouch")
    assert problem_with("deploy --imagee x")
    assert not problem_with("deploy --image x")
