"""Starts a scheduler: `python -m services.scheduler.main`."""

from __future__ import annotations

import asyncio
import gc

from fogbank.log.opening import open_log
from fogbank.log.second_copy import LedgerCopy, agreement
from fogbank.log.snapshots import LedgerSnapshots
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.garbage import spare_garbage_collection
from fogbank.runtime.grpc_channel import open_channel
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.grpc_tls import CertificateRule, ServiceTls, refuse_nodes
from fogbank.runtime.lifecycle import Service, run
from fogbank.runtime.settings import load
from services.scheduler import grpc_api
from services.scheduler.adapters.answering import Answering
from services.scheduler.adapters.listening import Listening
from services.scheduler.adapters.meter import PrometheusMeter
from services.scheduler.adapters.telemetry import NatsAnswers, heartbeats
from services.scheduler.app import Scheduler
from services.scheduler.settings import SchedulerSettings


async def build(service: Service, settings: SchedulerSettings) -> None:
    """Put the scheduler together; it serves once log and copy agree and it has read the log."""
    opened = await service.enter(open_log(settings))
    token = settings.service_token.reveal() if settings.service_token else None
    tls = ServiceTls(settings)
    ledger = await service.enter(
        open_channel(settings.ledger_addr, token=token, credentials=tls.client())
    )
    clock = SystemClock()
    scheduler = Scheduler(
        opened.log,
        clock,
        PrometheusMeter(),
        takeover_us=settings.takeover_ms * 1_000,
        longest_pause_s=settings.queue_timeout_s,
        snapshots=LedgerSnapshots(ledger),
    )
    listening = Listening(scheduler, opened.log, clock)
    answers = NatsAnswers(opened.connection, settings.fleet)
    answering = Answering(scheduler, opened.log.writer.instance, answers.publish)
    await service.enter(heartbeats(opened.connection, settings.fleet, answering.heard))
    server = GrpcServer(
        [grpc_api.SERVICE_NAME],
        token=token,
        interceptors=[CertificateRule(refuse_nodes)],
        credentials=tls.server,
    )
    grpc_api.add_to_server(scheduler, server.grpc)
    await server.start(settings.grpc_listen)
    service.on_stop("grpc", server.stop)
    await agreement(opened.log, LedgerCopy(ledger))
    service.start_loop("follow", scheduler.follow)
    service.start_loop("decide", scheduler.decide)
    service.start_loop("listen", listening.run)
    service.start_loop("answer", answering.run)
    service.start_loop("health", lambda: _health(scheduler, server))
    await scheduler.caught_up.wait()
    # What the log left behind stays for good: no need to look through it again and again.
    gc.freeze()
    await server.serving()


async def _health(scheduler: Scheduler, server: GrpcServer) -> None:
    await scheduler.differs.wait()
    await server.not_serving()
    await asyncio.Event().wait()


def main() -> None:
    """Run until told to stop."""
    spare_garbage_collection()
    settings = load(SchedulerSettings)
    run(settings, lambda service: build(service, settings))


if __name__ == "__main__":
    main()
