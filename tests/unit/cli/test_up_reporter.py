"""What `fog up` says to people."""

from pathlib import Path

import pytest

from fogbank.cli.up_reporter import TextReporter
from fogbank.local.state import LocalState


def test_the_summary_has_an_address_that_psql_takes(capsys: pytest.CaptureFixture[str]) -> None:
    state = LocalState(
        grpc="127.0.0.1:50051",
        http="http://127.0.0.1:8000",
        nats="nats://127.0.0.1:4222",
        database="postgresql+asyncpg://fogbank:word@127.0.0.1:5432/fogbank",
        admin_user="admin",
        admin_password="word",
        data_dir="/data",
        pids={},
    )

    TextReporter().ready(state)

    assert "psql postgresql://fogbank:word@127.0.0.1:5432/fogbank\n" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "told"), [(".fogbank", False), ("my data", True)])
def test_who_keeps_data_elsewhere_is_told_how_other_commands_find_it(
    name: str,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data_dir = tmp_path / name
    state = LocalState(
        "g:1", "http://h:2", "nats", "postgresql://d", "admin", "x", str(data_dir), {}
    )
    TextReporter().ready(state)
    line = f"\n  export FOG_DATA_DIR='{data_dir}'\n"
    assert (line in capsys.readouterr().out) is told
