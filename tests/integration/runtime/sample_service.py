"""A whole service in a few lines, for the tests of the process around it."""

import asyncio
import os
from typing import ClassVar

from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.lifecycle import Service, run
from fogbank.runtime.settings import FleetSettings, ListenAddress, load


class SampleSettings(FleetSettings, frozen=True):
    service: ClassVar[str] = "sample"

    grpc_listen: ListenAddress = ListenAddress("127.0.0.1:0")


async def setup(service: Service) -> None:
    async def loop() -> None:
        await asyncio.Event().wait()

    async def dies() -> None:
        raise RuntimeError("by request")

    server = GrpcServer([])
    await server.start(load(SampleSettings).grpc_listen)
    service.on_stop("grpc", server.stop)
    if "DIE" in os.environ:
        service.start_loop("dies", dies)
    service.start_loop("waits", loop)
    await server.serving()


if __name__ == "__main__":
    run(load(SampleSettings), setup)
