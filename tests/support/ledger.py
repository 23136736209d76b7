"""A ledger in a test: a log in memory, a real database, and the projection between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc.aio
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import EventLog, Writer
from fogbank.runtime.clock import SystemClock
from services.ledger import grpc_api
from services.ledger.adapters import replay_messages as say
from services.ledger.adapters.checkpoint_files import CheckpointFolder, read_keys
from services.ledger.adapters.database import MIGRATIONS, make_engine, prepare
from services.ledger.adapters.history import PostgresHistory
from services.ledger.adapters.log_copy import PostgresLogCopy
from services.ledger.adapters.past_reads import PostgresPast
from services.ledger.adapters.reader import PostgresReads
from services.ledger.adapters.replay_process import ReplayProcess, replay_process
from services.ledger.adapters.replayer import Replayer
from services.ledger.adapters.snapshots import PostgresSnapshots
from services.ledger.adapters.store import WRITING_SESSION, PostgresStore
from services.ledger.adapters.tree_store import PostgresTree
from services.ledger.app.comparisons import Comparisons
from services.ledger.app.evidence import Evidence, Keys
from services.ledger.app.log_verification import LogVerification
from services.ledger.app.past import PastStates
from services.ledger.app.ports import LedgerStore
from services.ledger.app.progress import Progress
from services.ledger.app.projector import Projector
from services.ledger.app.queries import LedgerQueries
from services.ledger.app.records import Records
from services.ledger.app.replays import DecisionReplays
from services.ledger.app.scrub import Scrub, ScrubPace
from services.ledger.app.snapshots import Snapshots
from tests.support.fleet_log import LittleLog
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

READER = Writer("ledger", "one")


def migrated_database(postgres: PostgresServer) -> AbstractAsyncContextManager[str]:
    """Make a database with the ledger's tables, which belong to no fleet yet."""
    return postgres.database("ledger", _migrate)


async def _migrate(url: str) -> None:
    engine = make_engine(url, 1)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(MIGRATIONS.apply)
    finally:
        await engine.dispose()


@dataclass
class StoredLog:
    """The log of a test, as a ledger reads it; `publish` puts there what a `LittleLog` has."""

    store: MemoryStore = field(default_factory=MemoryStore)

    def publish(self, log: LittleLog, upto: int | None = None) -> None:
        """Store the commits that are not there yet, up to a sequence."""
        for commit, data in zip(log.commits[:upto], log.data[:upto], strict=True):
            if commit.sequence > len(self.store.commits):
                self.store.add(Writer(commit.service, commit.instance), data)

    @property
    def last(self) -> int:
        """The last sequence."""
        return len(self.store.commits)

    def reader(self) -> EventLog:
        """Return a handle to read by."""
        return MemoryLog(self.store, READER)


@dataclass
class Ledger:
    """One ledger of a database."""

    engine: AsyncEngine
    store: PostgresStore
    progress: Progress
    projector: Projector
    snapshots: Snapshots
    past: PastStates
    answers: grpc_api.Answers

    def serve(self, server: grpc.aio.Server) -> None:
        """Make a server answer for this ledger."""
        grpc_api.add_to_server(self.answers, server, longest_wait_s=5)

    async def reaches(self, sequence: int, patience_s: float = 60) -> None:
        """Wait until the tables hold a commit."""
        await eventually(
            lambda: self.progress.position >= sequence, patience_s, what=f"commit {sequence}"
        )


class ReplayHere(ReplayProcess):
    """Replays in the test's own process, through the same messages."""

    def __init__(self) -> None:
        self._replayer = Replayer()

    async def _exchange(self, request: bytes) -> bytes:
        answer = self._replayer.answer(say.request_of(request[say.LENGTH_BYTES :]))
        return say.framed(answer)[say.LENGTH_BYTES :]


@asynccontextmanager
async def replay_here() -> AsyncIterator[ReplayProcess]:
    """Replay in the test's own process, where its patches hold."""
    yield ReplayHere()


ORIGIN = "fogbank/default"

Replay = Callable[[], AbstractAsyncContextManager[ReplayProcess]]


@asynccontextmanager
async def a_ledger(
    url: str,
    log: StoredLog,
    store: LedgerStore | None = None,
    replay: Replay = replay_process,
    checkpoints: Path | None = None,
) -> AsyncIterator[Ledger]:
    """Make a ledger that does not run yet; `store` stands before its own one if given.

    It signs checkpoints in the folder `checkpoints` when asked for one.
    """
    engine, writing = make_engine(url, 6), make_engine(url, 3, settings=WRITING_SESSION)
    own = PostgresStore(writing)
    try:
        await prepare(engine, "default", 1)
        progress = Progress()
        snapshots = Snapshots(PostgresSnapshots(engine))
        projector = Projector(log.reader(), store or own, progress, SystemClock(), snapshots)
        copy, history = PostgresLogCopy(engine), PostgresHistory(engine)
        clock = SystemClock()
        past = PastStates(PostgresPast(engine), history, copy, replay, progress, clock=clock)
        queries = LedgerQueries(PostgresReads(engine), past, progress)
        replays = DecisionReplays(copy, snapshots, replay, progress)
        tree = PostgresTree(engine)
        keys = read_keys(checkpoints / "keys", ORIGIN) if checkpoints else Keys(())
        folder = CheckpointFolder(checkpoints) if checkpoints else None
        evidence = Evidence(tree, copy, ORIGIN, keys, folder)
        verification = LogVerification(log.reader(), copy, tree, evidence, progress)
        comparisons = Comparisons(copy, snapshots, replay, progress)
        records = Records(copy, progress)
        scrub = Scrub(verification, progress, SystemClock(), ScrubPace(3_600, 1_000_000))
        answers = grpc_api.Answers(
            queries, snapshots, replays, comparisons, records, evidence, verification, scrub
        )
        yield Ledger(engine, own, progress, projector, snapshots, past, answers)
    finally:
        await own.close()
        await writing.dispose()
        await engine.dispose()


@asynccontextmanager
async def a_running_ledger(
    url: str,
    log: StoredLog,
    replay: Replay = replay_process,
    checkpoints: Path | None = None,
    patience_s: float = 60,
) -> AsyncIterator[Ledger]:
    """Run a ledger, which has taken in the log when the context begins, within so long."""
    made = a_ledger(url, log, replay=replay, checkpoints=checkpoints)
    async with made as ledger, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(loop())
            for loop in (
                ledger.projector.run,
                ledger.projector.watch_log,
                ledger.projector.watch_store,
                ledger.snapshots.run,
                ledger.past.run,
            )
        ]
        await ledger.reaches(log.last, patience_s)
        try:
            yield ledger
        finally:
            for task in tasks:
                task.cancel()


async def rows_of(url: str, query: str) -> list[asyncpg.Record]:
    """Run one query over a connection of its own."""
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def whole_tables(url: str) -> dict[str, list[asyncpg.Record]]:
    """Return every row of every table of the projection."""
    keys = {
        "deployments": "id",
        "deployment_resources": "deployment_id",
        "deployment_replicas": "id",
        "deployment_status_history": "deployment_id, sequence",
        "nodes": "id",
        "node_standings": "id",
        "commits": "sequence",
        "commit_touches": "kind, id, position",
        "former_deployments": "deployment_id, until_sequence",
        "cluster_history": "cluster_id, sequence",
        "node_name_history": "node_id, sequence",
        "node_use_history": "node_id, sequence",
        "checkpoint": "position",
    }
    return {
        table: await rows_of(url, f"SELECT * FROM {table} ORDER BY {key}")  # noqa: S608
        for table, key in keys.items()
    }
