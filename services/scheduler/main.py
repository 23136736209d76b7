"""Starts a scheduler: `python -m services.scheduler.main`."""

from __future__ import annotations

from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsCredentials, connect
from fogbank.log.port import Writer
from fogbank.log.stream import StreamName, StreamSettings, ensure_stream, require_sync_always
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.lifecycle import Service, run
from fogbank.runtime.settings import load
from services.scheduler import grpc_api
from services.scheduler.adapters.meter import PrometheusMeter
from services.scheduler.adapters.telemetry import heartbeats
from services.scheduler.app import Scheduler
from services.scheduler.settings import SchedulerSettings


async def build(service: Service, settings: SchedulerSettings) -> None:
    """Put the scheduler together; it serves once it has taken in the log."""
    password = settings.nats_password
    connection = await service.enter(
        connect(
            settings.nats_url,
            settings.instance,
            NatsCredentials(
                user=settings.nats_user,
                password=password.get_secret_value() if password else None,
                credentials_file=settings.nats_credentials,
            ),
        )
    )
    await require_sync_always(settings.nats_monitor_url)
    name = StreamName(settings.fleet, settings.generation)
    stream = StreamSettings(max_bytes=settings.log_max_bytes, replicas=settings.log_replicas)
    await ensure_stream(connection, name, stream)
    log = JetStreamLog(connection, name, Writer(settings.service, settings.instance))
    scheduler = Scheduler(
        log, SystemClock(), PrometheusMeter(), takeover_us=settings.takeover_ms * 1_000
    )
    await service.enter(heartbeats(connection, settings.fleet, scheduler.heard))
    token = settings.service_token
    server = GrpcServer([grpc_api.SERVICE_NAME], token=token.get_secret_value() if token else None)
    grpc_api.add_to_server(scheduler, server.grpc)
    await server.start(settings.grpc_listen)
    service.on_stop("grpc", server.stop)
    service.start_loop("follow", scheduler.follow)
    service.start_loop("decide", scheduler.decide)
    await scheduler.caught_up.wait()
    await server.serving()


def main() -> None:
    """Run until told to stop."""
    settings = load(SchedulerSettings)
    run(settings, lambda service: build(service, settings))


if __name__ == "__main__":
    main()
