"""Starts a scheduler: `python -m services.scheduler.main`."""

from __future__ import annotations

from fogbank.log.opening import open_log
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
    opened = await service.enter(open_log(settings))
    scheduler = Scheduler(
        opened.log, SystemClock(), PrometheusMeter(), takeover_us=settings.takeover_ms * 1_000
    )
    await service.enter(heartbeats(opened.connection, settings.fleet, scheduler.heard))
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
