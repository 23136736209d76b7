"""`fog ps --watch` where nobody looks on: a line for each change, not for each second."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fogbank.cli import show_commands
from fogbank.cli.output import OutputFormat


def _row(status: str, age: str) -> dict[str, Any]:
    return {"id": "1", "name": "web", "status": status, "replicas_text": "0/1", "age": age}


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [_row("pending", "1s"), _row("pending", "2s"), _row("running", "3s")]

    def each(*_arguments: object) -> Iterator[list[dict[str, Any]]]:
        yield from ([look] for look in looks)

    monkeypatch.setattr(show_commands, "_looks", each)


def test_a_pipe_gets_a_table_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    show_commands._watch(list, OutputFormat.TABLE)

    shown = capsys.readouterr().out
    assert [line.split()[1] for line in shown.splitlines() if line.startswith("web")] == [
        "pending",
        "running",
    ]


def test_a_program_gets_json_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    show_commands._watch(list, OutputFormat.JSON)

    first, end = json.JSONDecoder().raw_decode(text := capsys.readouterr().out)
    second = json.loads(text[end:])
    assert [first[0]["status"], second[0]["status"]] == ["pending", "running"]
    assert "age" not in first[0]
