"""The node's folder: what survives, and what is refused."""

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
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
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import Health, ReplicaState
from services.node_agent.adapters.node_folder import FolderInUseError, FolderLock
from services.node_agent.adapters.store import SqliteStore
from services.node_agent.adapters.store_values import decode_record, encode_record
from services.node_agent.app.ports import DiskDamagedError
from services.node_agent.core.kept import (
    AssignmentKept,
    BootKept,
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
from services.node_agent.core.replica import Desired, ReplicaRecord
from tests.unit.node_agent.scenes import spec

LOG = "agent.sqlite-wal"
FRAME_BYTES = 24 + 4096
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
TURNED_DOWN = ReplicaObservation(
    "t",
    0,
    ReplicaState.REJECTED,
    final=True,
    reason="no image",
    observed_at_us=9,
    unobtainable=True,
)
CONTAINER = ContainerSpec(
    ("serve",),
    (Port(53, PortProtocol.UDP),),
    (Volume("data", "/data", 2, read_only=True),),
    HealthProbe(ProbeKind.EXEC, command=("true",), start_period_ms=1, restart_unhealthy=True),
    "SIGINT",
    5,
)
RECORDS = [
    # As they are written: read back by later releases. A line here may be added, never changed.
    (
        ReplicaRecord("a", Desired.RUN, spec(starts_after=("b",)), 8),
        [
            "a", 1,
            ["d-1", "web", "nginx", [500, 512, 1, 0], {"KEY": "value"}, 1, ["b"], 0, []],
            8, None, [], 0,
        ],
    ),
    (
        ReplicaRecord("p", Desired.RUN, replace(spec(), container=CONTAINER), 8, PUBLISHED, [4], 3),
        [
            "p", 1,
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
            8, ["p", 0, 8, "c", 5, 2, False, 0, "", 9, ["32768->53/udp"]], [4], 3,
        ],
    ),
    (
        ReplicaRecord("a", Desired.STOP, None, 8, SEEN),
        ["a", 2, None, 8, ["a", 1, 11, "c-a", 5, 3, True, 3, "it broke", 9], [], 0],
    ),
    (
        ReplicaRecord("a", Desired.STOP, None, 8, SEEN, unreported=True),
        ["a", 2, None, 8, ["a", 1, 11, "c-a", 5, 3, True, 3, "it broke", 9], [], 0, True],
    ),
    (
        ReplicaRecord("t", Desired.RUN, None, 8, TURNED_DOWN),
        ["t", 1, None, 8, ["t", 0, 12, "", 0, 1, True, 0, "no image", 9, [], True], [], 0],
    ),
    (
        ReplicaRecord("a", Desired.RUN, None, 8, SEEN, interrupted=True),
        ["a", 1, None, 8, ["a", 1, 11, "c-a", 5, 3, True, 3, "it broke", 9], [], 0, False, True],
    ),
]  # fmt: skip
# A store as the release before boot ids left it.
FORMAT_1 = """
    CREATE TABLE node (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, last_number INTEGER NOT NULL,
        checksum INTEGER NOT NULL) STRICT;
    CREATE TABLE replicas (
        id TEXT PRIMARY KEY, record TEXT NOT NULL, checksum INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    CREATE TABLE reports (number INTEGER PRIMARY KEY, checksum INTEGER NOT NULL) STRICT;
    CREATE TABLE observations (
        position INTEGER PRIMARY KEY AUTOINCREMENT, report INTEGER, seen TEXT NOT NULL,
        checksum INTEGER NOT NULL) STRICT;
    CREATE INDEX observations_of_report ON observations (report);
    INSERT INTO node VALUES (1, 7, 8, 9, 3194378266);
    INSERT INTO replicas VALUES ('a',
        '["a",2,null,8,["a",1,11,"c-a",5,3,true,3,"it broke",9],[],0]', 2524973159);
    PRAGMA user_version = 1;
"""
ENTRIES: list[Entry] = [
    EpochKept(7),
    SequenceKept(8),
    BootKept("boot-1"),
    AssignmentKept("a", Desired.RUN, 8, spec(starts_after=("b",)), 2),
    AssignmentKept("c", Desired.STOP, 8),
    ObservationKept(PUBLISHED, reported=False),
    ObservationKept(SEEN, restarted_at_us=4),
    ReportSealed(1, 1),
    ReplicaDropped("c"),
    ReportSealed(2, 0),
    ObservationKept(replace(SEEN, restart_count=2)),
    ReportsAcknowledged(0),
    ReportsRenumbered(4),
    ReportSealed(5, 1),
    ReportsAcknowledged(5),
]


@pytest.fixture
async def pool() -> AsyncIterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def saved(store: SqliteStore, kept: Kept, *entries: Entry) -> None:
    for entry in entries:
        apply(kept, entry)
    await store.save(entries, kept)


@asynccontextmanager
async def opened(
    folder: Path, pool: ThreadPoolExecutor, *, sync: bool = True
) -> AsyncIterator[tuple[SqliteStore, Kept]]:
    store = SqliteStore(folder, pool, sync=sync)
    _, kept = await store.load()
    yield store, kept
    await store.close()


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


async def refused(folder: Path, pool: ThreadPoolExecutor, why: str) -> None:
    """See that it is refused, and refused again when it is tried again."""
    for _ in range(2):
        with pytest.raises(DiskDamagedError, match=why):
            await SqliteStore(folder, pool).load()


async def killed_after(folder: Path, pool: ThreadPoolExecutor, entries: Sequence[Entry]) -> Path:
    """Return a copy of a store's folder as a kill after these saves leaves it."""
    async with opened(folder / "alive", pool, sync=False) as (store, kept):
        for entry in entries:
            await saved(store, kept, entry)
        copy = folder / "killed"
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(folder / "alive", copy))


@pytest.mark.parametrize(("record", "written"), RECORDS)
def test_the_format_stays(record: ReplicaRecord, written: object) -> None:
    assert json.loads(json.dumps(encode_record(record))) == written
    assert decode_record(written) == record


def test_what_no_release_wrote_is_refused() -> None:
    for value in (["a", 1], ["a", 99, None, 8, None, [], 0], None):
        with pytest.raises(ValueError, match="not a replica this agent knows"):
            decode_record(value)


async def test_what_was_saved_is_loaded(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    folder = tmp_path / "node"
    store = SqliteStore(folder, pool)
    node_id, kept = await store.load()
    assert str(UUID(node_id)) == node_id
    for entry in ENTRIES:
        await saved(store, kept, entry)
        await store.close()
        again_id, again = await store.load()
        assert (again_id, again) == (node_id, kept)
        assert list(again.outbox.items()) == list(kept.outbox.items())
    assert kept.replicas["a"].restarts == [4]
    assert kept.unreported == [replace(SEEN, restart_count=2)]
    await store.close()


async def test_a_save_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    async with opened(tmp_path, pool) as (store, kept):
        await saved(store, kept, EpochKept(1))
        bad = ObservationKept(replace(SEEN, reason=b"no text"))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await store.save([AssignmentKept("a", Desired.RUN, 8), bad], Kept(epoch=2))
        assert (await SqliteStore(tmp_path / "other", pool).load())[1] == Kept()
    async with opened(tmp_path, pool) as (_, again):
        assert again == kept


async def test_an_unfinished_last_write_is_none(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    folder = await killed_after(tmp_path, pool, [EpochKept(1), EpochKept(2)])
    log = folder / LOG
    everything = log.read_bytes()
    frames = (len(everything) - 32) // FRAME_BYTES
    whole = {}
    for length in range(len(everything), 31, -(FRAME_BYTES // 4)):
        shutil.copytree(folder, tmp_path / "cut")
        (tmp_path / "cut" / LOG).write_bytes(everything[:length])
        async with opened(tmp_path / "cut", pool) as (store, kept):
            whole[(length - 32) // FRAME_BYTES] = kept.epoch
            await saved(store, kept, EpochKept(9))
        async with opened(tmp_path / "cut", pool) as (_, kept):
            assert kept.epoch == 9
        shutil.rmtree(tmp_path / "cut")
    assert whole[frames] == 2
    assert whole[frames - 1] == 1
    assert whole[0] == 0


async def test_damage_before_the_end_is_refused(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """SQLite would take the first broken frame for the end, and lose what was synced after it."""
    folder = await killed_after(tmp_path, pool, [EpochKept(number) for number in range(1, 5)])
    log = folder / LOG
    data = log.read_bytes()
    third_last = len(data) - 3 * FRAME_BYTES
    for at in (third_last, third_last + 8, third_last + 20, third_last + FRAME_BYTES - 1):
        log.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        await refused(folder, pool, f"{LOG} is damaged at byte {third_last}, and goes on after it")
    for at in (0, 9, 20, 31):
        log.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        await refused(folder, pool, f"{LOG} is damaged in its header")
    log.write_bytes(data)
    async with opened(folder, pool) as (_, kept):
        assert kept.epoch == 4


async def test_a_log_that_was_begun_anew_is_not_damaged(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """What is left of the log's earlier rounds lies behind its end."""
    for count in (80, 120, 150):
        saves = [EpochKept(number) for number in range(1, count)]
        folder = await killed_after(tmp_path, pool, saves)
        async with opened(folder, pool) as (_, kept):
            assert kept.epoch == count - 1


async def test_a_changed_byte_in_a_row_is_refused(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool) as (store, kept):
        await saved(store, kept, AssignmentKept("a", Desired.RUN, 1, spec()), ObservationKept(SEEN))
    path = tmp_path / "agent.sqlite"
    data = path.read_bytes()
    for old, new, table in ((b"nginx", b"nginy", "replicas"), (b"broke", b"brokd", "replicas")):
        assert old in data
        path.write_bytes(data.replace(old, new))
        await refused(tmp_path, pool, rf"agent\.sqlite is damaged: row 1 of table {table}")
    path.write_bytes(data[:4096] + bytes(2048) + data[6144:])
    await refused(tmp_path, pool, r"agent\.sqlite is damaged")
    path.write_bytes(b"x" * len(data))
    await refused(tmp_path, pool, r"agent\.sqlite is damaged: file is not a database")


async def test_a_damaged_identity_is_refused(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path, pool):
        pass
    (tmp_path / "identity.json").write_bytes(b"00000000 {}\n")
    await refused(tmp_path, pool, r"identity\.json is damaged")


async def test_a_folder_of_an_earlier_release_is_refused(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    node_id = await SqliteStore(tmp_path, pool).node_id()
    for name in ("state.json", "journal-3.log"):
        (tmp_path / name).touch()
    await refused(tmp_path, pool, r"earlier release \(state\.json, journal-3\.log\).*Remove")
    for name in ("state.json", "journal-3.log"):
        (tmp_path / name).unlink()
    async with opened(tmp_path, pool):
        assert await SqliteStore(tmp_path, pool).node_id() == node_id


async def test_a_store_of_format_1_is_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    await SqliteStore(tmp_path, pool).node_id()
    with closing(sqlite3.connect(tmp_path / "agent.sqlite")) as connection:
        connection.executescript(FORMAT_1)
    for boot_id in ("", "boot-1", "boot-2"):
        async with opened(tmp_path, pool) as (store, kept):
            assert (kept.epoch, kept.sequence, kept.last_number) == (7, 8, 9)
            assert kept.replicas == {"a": ReplicaRecord("a", Desired.STOP, None, 8, SEEN)}
            assert kept.boot_id == boot_id
            await saved(store, kept, BootKept(f"boot-{int(boot_id[5:] or 0) + 1}"))


async def test_a_store_of_a_later_release_is_refused(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    async with opened(tmp_path, pool):
        pass
    with closing(sqlite3.connect(tmp_path / "agent.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 99")
    await refused(tmp_path, pool, "of another release: format 99")


async def test_a_store_does_not_grow_with_what_is_over(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    store = SqliteStore(tmp_path, pool, sync=False)
    _, kept = await store.load()
    await saved(store, kept, AssignmentKept("a", Desired.RUN, 1, spec()))
    for number in range(1, 500):
        seen = ReplicaObservation("a", number, ReplicaState.RUNNING, reason="x" * 40)
        await saved(store, kept, ObservationKept(seen), ReportSealed(number, 1))
        await saved(store, kept, ReportsAcknowledged(number - 1))
    assert bytes_in(tmp_path) < 600_000
    await store.close()
    assert bytes_in(tmp_path) < 60_000


async def test_only_the_owner_may_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    async with opened(tmp_path / "node", pool) as (store, kept):
        await saved(store, kept, EpochKept(1))
        assert (tmp_path / "node").stat().st_mode & 0o077 == 0
        files = {path.name: path.stat().st_mode for path in (tmp_path / "node").iterdir()}
    assert files.keys() == {"identity.json", "agent.sqlite", LOG}
    assert all(mode & 0o077 == 0 for mode in files.values())


def test_a_folder_has_one_agent(tmp_path: Path) -> None:
    with (
        FolderLock(tmp_path),
        pytest.raises(FolderInUseError, match=str(tmp_path)),
        FolderLock(tmp_path),
    ):
        pass
    with FolderLock(tmp_path):
        pass
