"""A store whose disk loses its power in the middle of a save."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import ReplicaState
from services.node_agent.adapters.store import SqliteStore
from services.node_agent.core.kept import Entry, ObservationKept, ReportSealed, apply
from tests.support.power_cut import Disk, a_disk, fail, why_no_disk

pytestmark = [pytest.mark.kill, pytest.mark.xdist_group("chaos")]

# Long enough for the log to be worked into the file in between.
ENOUGH = 150


@pytest.fixture
def disk() -> Iterator[Disk]:
    if reason := why_no_disk():
        pytest.skip(reason)
    with a_disk(64) as made:
        yield made


async def save_forever(folder: Path, *, sync: bool) -> None:
    """Save one report after the other; tell each number once it is saved."""
    with ThreadPoolExecutor(1) as pool:
        store = SqliteStore(folder, pool, sync=sync)
        _, kept = await store.load()
        while True:
            number = kept.last_number + 1
            seen = ReplicaObservation("a", number, ReplicaState.RUNNING, "c" * 64)
            entries: list[Entry] = [ObservationKept(seen), ReportSealed(number, 1)]
            for entry in entries:
                apply(kept, entry)
            await store.save(entries, kept)
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()


def saved_until_a_cut(disk: Disk, folder: Path, *, sync: bool) -> int:
    """Cut the power while a process saves; return the last number that it said was saved."""
    code = (
        "import asyncio, sys; from pathlib import Path; "
        "from tests.integration.node_agent.test_store_power_cut import save_forever; "
        f"asyncio.run(save_forever(Path(sys.argv[1]), sync={sync}))"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = 0
        while last < ENOUGH:
            line = process.stdout.readline()
            assert line, "it ended by itself"
            last = int(line)
            if last == 1:
                # So that only the saves are at stake.
                disk.sync()
        fail(disk, process.pid)
        return max(last, *map(int, process.stdout.read().split()), 0)


async def kept_after_a_cut(disk: Disk, *, sync: bool) -> tuple[int, int]:
    """Return the last number that was saved, and the last that is there after the cut."""
    folder = disk.path / "node"
    saved = saved_until_a_cut(disk, folder, sync=sync)
    disk.back()
    with ThreadPoolExecutor(1) as pool:
        store = SqliteStore(folder, pool)
        _, kept = await store.load()
        await store.close()
    assert list(kept.outbox) == list(range(1, kept.last_number + 1)), "one after the other"
    return saved, kept.last_number


async def test_what_was_saved_survives_a_power_cut(disk: Disk) -> None:
    saved, kept = await kept_after_a_cut(disk, sync=True)
    assert saved <= kept <= saved + 1


async def test_what_was_not_synced_does_not(disk: Disk) -> None:
    """The proof that the test sees a loss when there is one."""
    saved, kept = await kept_after_a_cut(disk, sync=False)
    assert kept < saved
