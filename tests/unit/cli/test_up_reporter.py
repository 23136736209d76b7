"""What `fog up` says to people."""

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
