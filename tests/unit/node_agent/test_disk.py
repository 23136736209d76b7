"""The node's folder: what survives, and what is refused."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from fogbank.domain.containers import (
    ContainerSpec,
    HealthProbe,
    Port,
    PortProtocol,
    ProbeKind,
    PublishedPort,
    Volume,
)
from fogbank.domain.events import ReplicaObservation
from fogbank.domain.states import Health, ReplicaState
from services.node_agent.adapters.disk import FolderDisk, FolderInUseError, FolderLock
from services.node_agent.adapters.entries import decode_entry, encode_entry, encode_kept
from services.node_agent.app.ports import DiskDamagedError
from services.node_agent.core.kept import (
    AssignmentKept,
    Entry,
    EpochKept,
    Kept,
    ObservationKept,
    ReplicaDropped,
    ReportsAcknowledged,
    ReportSealed,
    ReportsRenumbered,
    SequenceKept,
    apply,
)
from services.node_agent.core.replica import Desired
from tests.unit.node_agent.scenes import spec

SEEN = ReplicaObservation(
    "a", 1, ReplicaState.FAILED, "c-a", 5, Health.UNHEALTHY, True, 3, "it broke", 9
)
PUBLISHED = ReplicaObservation(
    "p",
    0,
    ReplicaState.RUNNING,
    "c",
    5,
    Health.HEALTHY,
    observed_at_us=9,
    ports=(PublishedPort(53, PortProtocol.UDP, 32_768),),
)
CONTAINER = ContainerSpec(
    ("serve",),
    (Port(53, PortProtocol.UDP),),
    (Volume("data", "/data", 2, read_only=True),),
    HealthProbe(ProbeKind.EXEC, command=("true",), start_period_ms=1, restart_unhealthy=True),
    "SIGINT",
    5,
)
# One entry of each kind, and how it is written. Old journals are read by new releases: a line
# here may be added, never changed.
WRITTEN: list[tuple[Entry, object]] = [
    (EpochKept(7), ["epoch", 7]),
    (SequenceKept(8), ["sequence", 8]),
    (
        AssignmentKept("a", Desired.RUN, 8, spec(starts_after=("b",))),
        [
            "assignment", "a", 1, 8,
            ["d-1", "web", "nginx", [500, 512, 1, 0], {"KEY": "value"}, 1, ["b"], 0, []],
        ],
    ),
    (
        AssignmentKept("p", Desired.RUN, 8, replace(spec(), container=CONTAINER)),
        [
            "assignment", "p", 1, 8,
            [
                "d-1", "web", "nginx", [500, 512, 1, 0], {"KEY": "value"}, 1, [], 0, [],
                {
                    "command": ["serve"],
                    "ports": [{"number": 53, "protocol": 2}],
                    "volumes": [
                        {"name": "data", "path": "/data", "size_gib": 2, "read_only": True}
                    ],
                    "probe": {
                        "kind": 3, "port": 0, "path": "/", "command": ["true"], "service": "",
                        "start_period_ms": 1, "interval_ms": 10000, "timeout_ms": 3000,
                        "failures": 3, "successes": 1, "restart_unhealthy": True,
                    },
                    "stop_signal": "SIGINT",
                    "stop_grace_ms": 5,
                },
            ],
        ],
    ),
    (
        ObservationKept(PUBLISHED, reported=False),
        ["observation", ["p", 0, 8, "c", 5, 2, False, 0, "", 9, ["32768->53/udp"]], False, 0],
    ),
    (AssignmentKept("c", Desired.STOP, 8), ["assignment", "c", 2, 8, None]),
    (
        ObservationKept(SEEN, restarted_at_us=4),
        ["observation", ["a", 1, 11, "c-a", 5, 3, True, 3, "it broke", 9], True, 4],
    ),
    (ReportSealed(1, 1), ["sealed", 1, 1]),
    (ReplicaDropped("c"), ["dropped", "c"]),
    (ReportsAcknowledged(0), ["acknowledged", 0]),
    (ReportsRenumbered(4), ["renumbered", 4]),
]  # fmt: skip


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def saved(disk: FolderDisk, kept: Kept, *entries: Entry) -> None:
    for entry in entries:
        apply(kept, entry)
    await disk.save(entries, kept)


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize(("entry", "written"), WRITTEN, ids=lambda each: type(each).__name__)
def test_the_format_stays(entry: Entry, written: object) -> None:
    assert json.loads(json.dumps(encode_entry(entry))) == written
    assert decode_entry(written) == entry


def test_an_unknown_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="no_such_thing"):
        decode_entry(["no_such_thing", 1])


async def test_what_was_saved_is_loaded(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    disk = FolderDisk(tmp_path / "node", pool)
    node_id, kept = await disk.load()
    assert str(UUID(node_id)) == node_id
    for entry, _ in WRITTEN:
        await saved(disk, kept, entry)
    again_id, again = await FolderDisk(tmp_path / "node", pool).load()
    assert again_id == node_id
    assert again == kept
    assert kept.replicas["a"].restarts == [4]
    assert kept.unreported == [SEEN]


async def test_an_unfinished_last_write_is_cut_off(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    disk = FolderDisk(tmp_path, pool)
    _, kept = await disk.load()
    await saved(disk, kept, EpochKept(1))
    journal = tmp_path / "journal-0.log"
    whole = journal.read_bytes()
    await saved(disk, kept, EpochKept(2), SequenceKept(2))
    everything = journal.read_bytes()
    for length in range(len(whole), len(everything)):
        journal.write_bytes(everything[:length])
        disk = FolderDisk(tmp_path, pool)
        _, kept = await disk.load()
        assert (kept.epoch, kept.sequence) == (1, 0)
        assert journal.read_bytes() == whole
    await saved(disk, kept, EpochKept(3))
    _, kept = await FolderDisk(tmp_path, pool).load()
    assert kept.epoch == 3


async def test_damage_before_the_end_is_refused(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    disk = FolderDisk(tmp_path, pool)
    _, kept = await disk.load()
    await saved(disk, kept, EpochKept(1))
    await saved(disk, kept, EpochKept(2))
    journal = tmp_path / "journal-0.log"
    data = bytearray(journal.read_bytes())
    data[14] ^= 1
    journal.write_bytes(data)
    with pytest.raises(DiskDamagedError, match=r"journal-0\.log is damaged at byte 0"):
        await FolderDisk(tmp_path, pool).load()


@pytest.mark.parametrize("name", ["identity.json", "state.json"])
async def test_a_damaged_file_is_refused(
    tmp_path: Path, pool: ThreadPoolExecutor, name: str
) -> None:
    await FolderDisk(tmp_path, pool).load()
    (tmp_path / name).write_bytes(b"00000000 {}\n")
    with pytest.raises(DiskDamagedError, match=name):
        await FolderDisk(tmp_path, pool).load()


async def test_a_long_journal_is_folded_into_the_state(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    disk = FolderDisk(tmp_path, pool, sync=False)
    _, kept = await disk.load()
    await saved(disk, kept, AssignmentKept("a", Desired.RUN, 1, spec()))
    for number in range(1, 1_500):
        seen = ReplicaObservation("a", number, ReplicaState.RUNNING, reason="x" * 40)
        await saved(disk, kept, ObservationKept(seen), ReportSealed(number, 1))
        await saved(disk, kept, ReportsAcknowledged(number - 1))
    files = sizes(tmp_path)
    assert len(files) == 3
    assert "state.json" in files
    assert sum(files.values()) < 200_000
    _, again = await FolderDisk(tmp_path, pool).load()
    assert encode_kept(again) == encode_kept(kept)


async def test_a_crash_between_state_and_journal_loses_nothing(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    disk = FolderDisk(tmp_path, pool)
    _, kept = await disk.load()
    await saved(disk, kept, EpochKept(1), ReportSealed(1, 0))
    old_journal = (tmp_path / "journal-0.log").read_bytes()
    disk._compact(kept)
    (tmp_path / "journal-0.log").write_bytes(old_journal)
    _, again = await FolderDisk(tmp_path, pool).load()
    assert again == kept
    assert not (tmp_path / "journal-0.log").exists()


async def test_only_the_owner_may_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    disk = FolderDisk(tmp_path / "node", pool)
    _, kept = await disk.load()
    await saved(disk, kept, EpochKept(1))
    assert (tmp_path / "node").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "node").iterdir())


def test_a_folder_has_one_agent(tmp_path: Path) -> None:
    with (
        FolderLock(tmp_path),
        pytest.raises(FolderInUseError, match=str(tmp_path)),
        FolderLock(tmp_path),
    ):
        pass
    with FolderLock(tmp_path):
        pass
