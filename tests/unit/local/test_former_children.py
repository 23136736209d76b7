"""What a crash left running is ended, and nothing else."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fogbank.local.child_register import ChildRegister
from fogbank.local.data_dir import read_json, write_json
from fogbank.local.disk_trouble import DiskTrouble
from fogbank.local.process_identity import identify
from tests.support.waiting import eventually_sync

UNTROUBLED = DiskTrouble(pytest.fail)
SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")
STUBBORN = (
    sys.executable,
    "-c",
    (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True);"
        "time.sleep(60)"
    ),
)


def test_a_process_is_itself_and_no_other() -> None:
    assert identify(os.getpid()) == identify(os.getpid())
    assert identify(os.getpid()) != identify(1)
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        identity = identify(process.pid)
        assert identity is not None
        assert identity.is_alive
        assert identity.signal(signal.SIGKILL)
        eventually_sync(lambda: not identity.is_alive, what="its end, unreaped as it is")
    assert not identity.signal(signal.SIGTERM)


def test_children_on_record_are_ended(tmp_path: Path) -> None:
    path = tmp_path / "children.json"
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        ChildRegister(path, UNTROUBLED).started("gateway-1", process.pid, signal.SIGTERM)
        assert ChildRegister(path, UNTROUBLED).end_former() == ["gateway-1"]
        assert process.wait(60) == -signal.SIGTERM
    assert read_json(path) == []
    assert ChildRegister(path, UNTROUBLED).end_former() == []


def test_one_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    path = tmp_path / "children.json"
    with subprocess.Popen(STUBBORN, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ChildRegister(path, UNTROUBLED, patience_s=0.1).started(
            "ledger-1", process.pid, signal.SIGTERM
        )
        assert ChildRegister(path, UNTROUBLED, patience_s=0.1).end_former() == ["ledger-1"]
        assert process.wait(60) == -signal.SIGKILL


def test_a_pid_that_went_to_another_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "children.json"
    with subprocess.Popen(SLEEPER, start_new_session=True) as process:
        write_json(
            path,
            [{"name": "nats", "pid": process.pid, "started": "long ago", "stop_signal": 15}],
        )
        assert ChildRegister(path, UNTROUBLED).end_former() == []
        assert identify(process.pid)
        process.kill()


def test_a_disk_that_refuses_does_not_end_what_is_supervised(tmp_path: Path) -> None:
    told: list[str] = []
    folder = tmp_path / "folder"
    register = ChildRegister(folder / "children.json", DiskTrouble(told.append))
    for name in ("nats", "postgres"):
        register.started(name, os.getpid(), signal.SIGTERM)
    assert len(told) == 1
    assert "children.json" in told[0]
    folder.mkdir()
    register.ended("nats")
    assert [record["name"] for record in read_json(folder / "children.json")] == ["postgres"]
    assert set(register.pids()) == {"postgres"}
