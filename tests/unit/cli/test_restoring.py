"""`fog audit restore` and `rebuild` where a store does not answer: they say what has to run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fogbank.cli import restore_command
from fogbank.cli.failures import CommandError
from fogbank.local.data_dir import DataDir


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    def fails(*_: object) -> None:
        raise CommandError("no answer")

    monkeypatch.setattr(restore_command, "report_of", fails)
    monkeypatch.setattr(restore_command, "_of_data_dir", lambda *_: {})
    data = DataDir(tmp_path)
    data.create()
    return data


def hint_of(command: Callable[[], object]) -> str:
    with pytest.raises(CommandError) as failure:
        command()
    return failure.value.hint


@pytest.mark.parametrize(
    ("command", "elsewhere"),
    [(restore_command.restore, "nats_url"), (restore_command.rebuild, "database_url")],
)
def test_where_nothing_runs_it_says_what_has_to(
    data: DataDir, command: Callable[..., object], elsewhere: str
) -> None:
    there = partial(command, data_dir=data.root, **{elsewhere: None})
    assert f"fog up --data-dir {data.root} --timeout" in hint_of(there)
    with data.locked():
        assert hint_of(there) == ""
    assert hint_of(partial(command, data_dir=data.root, **{elsewhere: "there://"})) == ""


def test_a_data_directory_is_in_use_while_a_supervisor_holds_it(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    seen = [data.in_use]
    data.create()
    seen.append(data.in_use)
    with data.locked():
        seen.append(data.in_use)
    seen.append(data.in_use)
    assert seen == [False, False, True, False]
