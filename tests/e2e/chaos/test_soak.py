"""Load after load, disturbed at random, for as long as one likes: `make soak TIME=3600`.

FOG_SOAK_S is for how long, in seconds; FOG_SOAK_SEED repeats the order of another run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.chaos import ChaosSystem, chaos_system, judge, new_record
from tests.support.command_load import PATIENCE_S, Record
from tests.support.crash_points import Accounts, Loads, busy, crash_plan
from tests.support.power_cut import Disk, a_disk, why_no_disk
from tests.support.soak import Bag, Deaths, Disturbance, Tally, disturbances, drawn_from
from tests.support.waiting import eventually_sync

SOAK_S = float(os.environ.get("FOG_SOAK_S", "600"))
SEED = int(os.environ.get("FOG_SOAK_SEED") or secrets.randbelow(1_000_000))

pytestmark = [
    pytest.mark.kill,
    pytest.mark.soak,
    pytest.mark.timeout(SOAK_S + 1200),
    pytest.mark.xdist_group("chaos"),
]

# Between two judgements.
DISTURBANCES_AT_A_TIME = 8
# Acknowledgements between two disturbances.
WORK_BETWEEN = 10


@pytest.fixture
def disk() -> Iterator[Disk | None]:
    if why_no_disk():
        yield None
        return
    with a_disk(4096) as made:
        yield made


def test_loads_are_disturbed_at_random(
    disk: Disk | None, capsys: pytest.CaptureFixture[str]
) -> None:
    def say(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    say(f"\nsoak of {SOAK_S:g} s, FOG_SOAK_SEED={SEED}")
    if disk is None:
        say(f"without power cuts: {why_no_disk()}")
    with ExitStack() as stack:
        plan = stack.enter_context(crash_plan())
        deaths = Deaths(plan, SEED)
        known = disturbances(disk, deaths)
        tally = Tally(known, deaths)
        stack.callback(lambda: say(f"FOG_SOAK_SEED={SEED}\n{tally.table()}"))
        folder = disk.path / "data" if disk is not None else None
        system = stack.enter_context(
            chaos_system(
                "--gateways", "2", "--schedulers", "2", data_dir=folder, env=plan.environment
            )
        )
        accounts = Accounts(system)
        stack.enter_context(busy(accounts))
        bag = Bag(drawn_from(known), SEED)
        record = new_record(system)
        ends_s = time.monotonic() + SOAK_S
        spell = 0
        while time.monotonic() < ends_s or not spell:
            spell += 1
            names = bag.draw(DISTURBANCES_AT_A_TIME)
            say(f"{spell}: {', '.join(names)}")
            one_spell(system, record, f"spell{spell}-", names, tally)
        accounts.stop()
        accounts.check()


def one_spell(
    system: ChaosSystem, record: Record, prefix: str, names: list[str], tally: Tally
) -> None:
    """Disturb the system under load after load, judge everything so far, and make room again."""
    loads = Loads(system, record, prefix)
    try:
        with busy(loads):
            resumed_s = [disturbed_s(system, record, loads, tally.known[name]) for name in names]
        verdict = replace(judge(system, record), resumed_s=tuple(resumed_s))
    except BaseException as error:
        tally.add(names, None)
        error.add_note(f"the services' logs are kept in {evidence(system)}")
        raise
    tally.add(names, verdict)
    loads.clear()


def disturbed_s(
    system: ChaosSystem, record: Record, loads: Loads, disturbance: Disturbance
) -> float:
    """Disturb, and return the seconds from then to the first acknowledgement after it."""

    def more(than: int) -> bool:
        loads.raise_error()
        return len(record.promises) > than

    before = len(record.promises) + WORK_BETWEEN
    eventually_sync(lambda: more(before), PATIENCE_S, what="some work before the next disturbance")
    began = time.monotonic()
    disturbance.act(system)
    acknowledged = len(record.promises)
    eventually_sync(lambda: more(acknowledged), PATIENCE_S, what="an acknowledgement")
    return time.monotonic() - began


def evidence(system: ChaosSystem) -> Path:
    """Copy what helps to understand a failure to where it stays."""
    folder = Path(tempfile.mkdtemp(prefix="fogbank-soak-"))
    for source in (
        *(system.data_dir / "logs").glob("*.log"),
        system.scratch / "acknowledged.jsonl",
    ):
        shutil.copy(source, folder)
    return folder
