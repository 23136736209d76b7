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
from functools import partial
from pathlib import Path

import pytest

from tests.support.chaos import ChaosSystem, chaos_system, disturbed, new_record
from tests.support.command_load import Record, delete_all
from tests.support.crash_points import Accounts, busy, crash_plan
from tests.support.power_cut import Disk, a_disk, why_no_disk
from tests.support.soak import Bag, Deaths, Disturbance, Tally, disturbances, drawn_from

SOAK_S = float(os.environ.get("FOG_SOAK_S", "600"))
SEED = int(os.environ.get("FOG_SOAK_SEED") or secrets.randbelow(1_000_000))

pytestmark = [
    pytest.mark.kill,
    pytest.mark.soak,
    pytest.mark.timeout(SOAK_S + 1200),
    pytest.mark.xdist_group("chaos"),
]

# In the middle of each load, which is slow enough for all of them.
DISTURBANCES_PER_LOAD = 10
DEPLOYMENTS = 150
PACE_S = 0.3


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
        load = 0
        while time.monotonic() < ends_s or not load:
            load += 1
            names = bag.draw(DISTURBANCES_PER_LOAD)
            say(f"load {load}: {', '.join(names)}")
            one_load(system, record, f"load{load}", [known[name] for name in names], names, tally)
        accounts.stop()
        accounts.check()


def one_load(
    system: ChaosSystem,
    record: Record,
    prefix: str,
    todo: list[Disturbance],
    names: list[str],
    tally: Tally,
) -> None:
    """Put a load on the system, disturb it, judge everything so far, and make room again."""
    try:
        verdict = disturbed(
            system,
            [partial(disturbance.act, system) for disturbance in todo],
            record=record,
            prefix=prefix,
            count=DEPLOYMENTS,
            pace_s=PACE_S,
        )
    except BaseException as error:
        tally.add(names, None)
        error.add_note(f"the services' logs are kept in {evidence(system)}")
        raise
    tally.add(names, verdict)
    delete_all(system, record, prefix)


def evidence(system: ChaosSystem) -> Path:
    """Copy what helps to understand a failure to where it stays."""
    folder = Path(tempfile.mkdtemp(prefix="fogbank-soak-"))
    for source in (
        *(system.data_dir / "logs").glob("*.log"),
        system.scratch / "acknowledged.jsonl",
    ):
        shutil.copy(source, folder)
    return folder
