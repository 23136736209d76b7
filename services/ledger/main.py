"""Starts a ledger: `python -m services.ledger.main`.

`restore` behind it mends the broker's log from the database's copy, as `fog audit restore` does;
`rebuild` builds the tables again, `keys` shows or changes the keys that sign checkpoints.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from fogbank.domain.errors import FogError
from fogbank.log.fill_watch import FillWatch
from fogbank.log.opening import open_log
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.garbage import spare_garbage_collection
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.grpc_tls import CertificateRule, ServiceTls, refuse_nodes
from fogbank.runtime.lifecycle import Service, run
from fogbank.runtime.settings import load
from fogbank.runtime.tls import client_tls
from services.ledger import grpc_api
from services.ledger.adapters import maintenance
from services.ledger.adapters.beside import is_of_this_release
from services.ledger.adapters.checkpoint_files import CheckpointFolder, read_keys
from services.ledger.adapters.database import make_engine, prepare
from services.ledger.adapters.history import PostgresHistory
from services.ledger.adapters.log_copy import PostgresLogCopy
from services.ledger.adapters.past_reads import PostgresPast
from services.ledger.adapters.reader import PostgresReads
from services.ledger.adapters.replay_process import replay_process
from services.ledger.adapters.snapshots import PostgresSnapshots
from services.ledger.adapters.store import WRITING_SESSION, PostgresStore
from services.ledger.adapters.tree_store import PostgresTree
from services.ledger.app.comparisons import Comparisons
from services.ledger.app.evidence import Evidence, Keys
from services.ledger.app.lag import LagWatch
from services.ledger.app.log_verification import LogVerification
from services.ledger.app.past import PastStates
from services.ledger.app.progress import Progress
from services.ledger.app.projector import Projector
from services.ledger.app.queries import LedgerQueries
from services.ledger.app.rebuild import RebuildUnderWayError
from services.ledger.app.records import Records
from services.ledger.app.replays import DecisionReplays
from services.ledger.app.scrub import Scrub, ScrubPace
from services.ledger.app.snapshots import Snapshots
from services.ledger.settings import LedgerSettings

_log = structlog.get_logger(__name__)

_REBUILD_PAUSE_S = 2.0
# One to write, one that holds the leader's lock, one to look whether there is a database.
_PROJECTION_CONNECTIONS = 3


async def build(service: Service, settings: LedgerSettings) -> None:
    """Put the ledger together; it serves once the tables hold what the log held at the start."""
    log = (await service.enter(open_log(settings))).log
    writing = await service.enter(_engine(settings, _PROJECTION_CONNECTIONS, WRITING_SESSION))
    reading = await service.enter(_engine(settings, settings.query_connections))
    await prepare(writing, settings.fleet, settings.generation)
    store = await service.enter(_store(writing))
    progress, clock = Progress(), SystemClock()
    snapshots = Snapshots(PostgresSnapshots(reading))
    projector = Projector(log, store, progress, clock, snapshots)
    tree, copy = PostgresTree(reading), PostgresLogCopy(reading)
    evidence = _evidence(settings, tree, copy)
    token = settings.service_token
    server = GrpcServer(
        [grpc_api.SERVICE_NAME],
        token=token.reveal() if token else None,
        interceptors=[CertificateRule(refuse_nodes)],
        credentials=ServiceTls(settings).server,
    )
    past = PastStates(
        PostgresPast(reading), PostgresHistory(reading), copy, replay_process, progress, clock=clock
    )
    verification = LogVerification(log, copy, tree, evidence, progress)
    pace = ScrubPace(settings.scrub_period_ms / 1_000, settings.scrub_rate)
    scrub = Scrub(verification, progress, clock, pace)
    answers = grpc_api.Answers(
        LedgerQueries(PostgresReads(reading), past, progress),
        snapshots,
        DecisionReplays(copy, snapshots, replay_process, progress),
        Comparisons(copy, snapshots, replay_process, progress),
        Records(copy, progress),
        evidence,
        verification,
        scrub,
    )
    grpc_api.add_to_server(answers, server.grpc, settings.longest_wait_ms / 1_000)
    await server.start(settings.grpc_listen)
    service.on_stop("grpc", server.stop)
    service.start_loop("project", partial(_project, projector, settings, reading))
    service.start_loop("keep snapshots", snapshots.run)
    service.start_loop("answer about the past", past.run)
    service.start_loop(
        "sign checkpoints", partial(evidence.run, settings.checkpoint_period_ms / 1_000)
    )
    service.start_loop("scrub", scrub.run)
    service.start_loop("watch log", projector.watch_log)
    service.start_loop("watch lag", LagWatch(progress, clock).run)
    service.start_loop("watch fill", FillWatch(log).run)
    service.start_loop("watch store", projector.watch_store)
    service.start_loop("health", _health(progress, server))
    await progress.ready_changed(known=False)
    # What the log left behind stays for good: no need to look through it again and again.
    gc.freeze()


async def _project(projector: Projector, settings: LedgerSettings, reading: AsyncEngine) -> None:
    """Build tables again that another release's projection made, then project."""
    url, tls = settings.database_url.reveal(), client_tls(settings.database_tls_ca)
    told = ""
    while True:
        try:
            if await is_of_this_release(reading):
                break
            _log.info("The tables are built again: another release made them")
            rebuilt = await maintenance.rebuild(url, tls, lambda *_: None)
            _log.info("The tables were built again", position=rebuilt.position)
        except (FogError, RebuildUnderWayError) as error:
            if str(error) != told:
                _log.warning("The tables cannot be built again yet", error=str(error))
            told = str(error)
            await asyncio.sleep(_REBUILD_PAUSE_S)
    await projector.run()


def _evidence(settings: LedgerSettings, tree: PostgresTree, copy: PostgresLogCopy) -> Evidence:
    # Sequences go on through a fleet's generations, and so does the tree.
    origin = f"fogbank/{settings.fleet}"
    folder, key_file = settings.checkpoint_dir, settings.checkpoint_key_file
    keys = read_keys(key_file, origin) if key_file is not None else Keys(())
    store = CheckpointFolder(folder) if folder is not None else None
    return Evidence(tree, copy, origin, keys, store)


def _health(progress: Progress, server: GrpcServer) -> Callable[[], Awaitable[None]]:
    async def follow_readiness() -> None:
        ready = False
        while True:
            ready = await progress.ready_changed(known=ready)
            if ready:
                await server.serving()
            else:
                await server.not_serving()

    return follow_readiness


@asynccontextmanager
async def _engine(
    settings: LedgerSettings, pool_size: int, session: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[AsyncEngine]:
    url = settings.database_url.reveal()
    engine = make_engine(url, pool_size, client_tls(settings.database_tls_ca), session)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def _store(engine: AsyncEngine) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(engine)
    try:
        yield store
    finally:
        await store.close()


def main() -> None:
    """Run until told to stop; with an argument, do that work on the two stores and leave."""
    settings = load(LedgerSettings)
    if sys.argv[1:]:
        sys.exit(maintenance.main(settings, sys.argv[1:]))
    spare_garbage_collection()
    run(settings, lambda service: build(service, settings))


if __name__ == "__main__":
    main()
