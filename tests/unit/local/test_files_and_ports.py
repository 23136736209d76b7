"""What a local system keeps on disk, and how it comes by ports."""

import json
import os
import socket
from pathlib import Path

import pytest

from fogbank.local.data_dir import DataDir, read_json, write_json
from fogbank.local.disk_trouble import DiskTrouble
from fogbank.local.errors import DataDirInUse, LocalError
from fogbank.local.log_watch import LogWatch, last_lines
from fogbank.local.ports import Ports, is_free
from fogbank.local.secret_files import SecretFiles, read_secret
from fogbank.local.state import LocalState, read_state
from fogbank.runtime.private_files import write_private


def test_private_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "one")
    write_private(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_broken_or_missing_json_reads_as_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert read_json(path) is None
    path.write_text("{")
    assert read_json(path) is None
    write_json(path, [1])
    assert read_json(path) == [1]


def test_a_data_dir_is_held_by_one(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "data")
    data.create()
    with (
        data.locked(),
        pytest.raises(DataDirInUse, match=f"process {os.getpid()}"),
        data.locked(),
    ):
        pass
    with data.locked():
        pass


def test_an_unusable_data_dir_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="give another one with --data-dir"):
        DataDir(tmp_path / "file" / "data").create()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    secrets = SecretFiles(tmp_path)
    secrets.ensure()
    first = {path.name: path.read_text() for path in tmp_path.iterdir()}
    secrets.ensure()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == first
    assert len(set(first.values())) == len(first), "each its own"
    assert not read_secret(secrets.jwt_secret).endswith("\n")
    assert min(len(text) for text in first.values()) > 24


def test_internal_ports_are_kept_and_chosen_again_when_taken(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    ports = Ports(path)
    first = {purpose: ports.internal(purpose) for purpose in ("a", "b", "c")}
    ports.save()
    assert len(set(first.values())) == 3
    assert {purpose: Ports(path).internal(purpose) for purpose in first} == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first["a"]))
        other.listen()
        again = Ports(path)
        assert not is_free(first["a"])
        assert again.internal("a") != first["a"]
        assert again.internal("b") == first["b"]


def test_a_public_port_that_is_taken_is_refused_with_advice(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(LocalError, match=f"port {taken} .* --http-port 0"):
            Ports(tmp_path / "ports.json").public("http", taken, 8000, "--http-port")


def test_a_public_port_that_was_given_once_is_that_of_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    wanted, usual = Ports(file).internal("some"), Ports(file).internal("some other")
    first = Ports(file)
    assert first.public("grpc", None, usual, "--grpc-port") == usual
    assert first.public("grpc", wanted, usual, "--grpc-port") == wanted
    first.save()
    assert Ports(file).public("grpc", None, usual, "--grpc-port") == wanted
    assert Ports(file).public("grpc", usual, 1, "--grpc-port") == usual


def test_state_survives_its_file(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert read_state(data) is None
    state = LocalState("g", "h", "n", "d", "admin", "pw", str(tmp_path), {"supervisor": 1})
    state.write(data, ready=True, at=1.5)
    assert read_state(data) == state
    assert json.loads(data.state_file.read_text())["ready"] is True
    assert "pw" not in repr(state)


def test_new_errors_in_logs_are_told_once(tmp_path: Path) -> None:
    log = tmp_path / "ledger-1.log"
    log.write_text('{"level": "ERROR", "event": "old"}\n')
    watch = LogWatch(DiskTrouble(pytest.fail))
    watch.start(log)
    with log.open("a") as file:
        file.write('{"level": "INFO", "event": "fine"}\nplain text\n')
        file.write('{"level": "error", "event": "broken", "error": "no room"}\n')
        file.write('{"level": "ERROR", "event": "half a li')
    assert list(watch.new_errors()) == [("ledger-1", "ERROR broken: no room")]
    with log.open("a") as file:
        file.write('ne"}\n')
    assert list(watch.new_errors()) == [("ledger-1", "ERROR half a line")]
    assert list(watch.new_errors()) == []


def test_a_line_longer_than_a_look_does_not_hide_what_follows(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    log.touch()
    watch = LogWatch(DiskTrouble(pytest.fail))
    watch.start(log)
    with log.open("a") as file:
        file.write("x" * 2_500_000 + "\n")
        file.write('{"level": "ERROR", "event": "broken"}\n')
    told = [error for _ in range(4) for error in watch.new_errors()]
    assert told == [("postgres", "ERROR broken")]


def test_a_log_that_can_not_be_read_is_told_once_and_the_others_are_followed(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    watch = LogWatch(DiskTrouble(told.append))
    broken, log = tmp_path / "gateway-1.log", tmp_path / "ledger-1.log"
    for path in (broken, log):
        watch.start(path)
    broken.mkdir()
    (broken / "something").touch()
    for number in range(2):
        with log.open("a") as file:
            file.write(f'{{"level": "ERROR", "event": "error {number}"}}\n')
        assert list(watch.new_errors()) == [("ledger-1", f"ERROR error {number}")]
    assert len(told) == 1
    assert "gateway-1.log" in told[0]


def test_last_lines_are_readable(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_lines(log, 3) == []
    log.write_text('one\n{"level": "warning", "event": "two"}\n{broken\n')
    assert last_lines(log, 2) == ["WARNING two", "{broken"]
