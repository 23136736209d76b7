"""The whole database is lost: the ledger derives its tables again, a backup brings the accounts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.fog_up import ROOT, FogUp, temporary_data_dir

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("fog-up-kill")]

PASSWORD = "secret-enough\n"


@pytest.fixture
def data_dir() -> Generator[Path]:
    with temporary_data_dir() as folder:
        yield folder


def fog(data_dir: Path, *arguments: str, text: str = "") -> str:
    settings = {
        "PYTHONPATH": str(ROOT),
        "FOG_DATA_DIR": str(data_dir),
        "XDG_CONFIG_HOME": str(data_dir.parent / "config"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "fogbank.cli.main", *arguments],
        cwd=data_dir.parent,
        env=dict(os.environ) | settings,
        input=text,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def test_a_user_goes_on_after_the_database_was_lost(data_dir: Path) -> None:
    system, file = FogUp(data_dir, "--nodes", "2"), data_dir.parent / "accounts.backup"
    try:
        system.start()
        fog(data_dir, "register", "-u", "carol", "--password-stdin", text=PASSWORD)
        fog(data_dir, "login", "-u", "carol", "--password-stdin", text=PASSWORD)
        deploy = ("deploy", "mine", "--image", "x", "--env", "KEY=value", "--wait", "-o", "name")
        made = fog(data_dir, *deploy).strip()
        fog(data_dir, "backup", str(file), "--data-dir", str(data_dir))
        system.stop()
        shutil.rmtree(data_dir / "postgres")
        system.start()
        fog(data_dir, "restore", str(file), "--data-dir", str(data_dir))
        fog(data_dir, "login", "-u", "carol", "--password-stdin", text=PASSWORD)
        (row,) = json.loads(fog(data_dir, "ps", "-o", "json"))
        assert row["id"] == made
        # Its environment is there as well: another replica can be started.
        fog(data_dir, "scale", made, "2", "--wait")
    finally:
        if system.running:
            system.stop()
