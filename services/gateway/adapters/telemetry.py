"""Signs of life, passed on to whoever listens on the broker, and what schedulers heard of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import nats.errors
import structlog
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from fogbank.log.nats_connection import NatsConnection
from fogbank.v1 import agent_service_pb2, resources_pb2
from services.gateway.app.ports import Heard, HeardHeartbeat

_log = structlog.get_logger(__name__)


class NatsTelemetry:
    """Publishes on `fogbank.telemetry.<fleet>.<node id>`; behaves as `TelemetryPublisher` says."""

    def __init__(self, connection: NatsConnection, fleet: str) -> None:
        self._connection = connection
        self._prefix = f"fogbank.telemetry.{fleet}."

    async def publish(self, heard: Heard) -> None:
        if not self._connection.is_connected:
            # The client would keep it and send it late, when it is no sign of life any more.
            return
        message = agent_service_pb2.Telemetry(
            node_id=heard.node_id,
            epoch=heard.epoch,
            received_at_us=heard.received_at_us,
            usage=resources_pb2.Usage(
                cpu_percent=heard.cpu_percent, memory_percent=heard.memory_percent
            ),
            number=heard.number,
        )
        try:
            await self._connection.client.publish(
                self._prefix + heard.node_id, message.SerializeToString()
            )
        except (nats.errors.Error, OSError) as error:
            _log.debug("sign of life not passed on", node=heard.node_id, error=repr(error))


@asynccontextmanager
async def heard_heartbeats(
    connection: NatsConnection, fleet: str, take: Callable[[str, Iterable[HeardHeartbeat]], None]
) -> AsyncIterator[None]:
    """Call `take(instance, heartbeats)` with what schedulers heard while the context lasts."""

    async def received(message: Msg) -> None:
        try:
            heard = agent_service_pb2.HeardHeartbeats.FromString(message.data)
        except DecodeError:
            _log.warning("heard heartbeats that cannot be decoded", subject=message.subject)
            return
        take(
            heard.instance,
            [HeardHeartbeat(each.node_id, each.epoch, each.number) for each in heard.heartbeats],
        )

    subscription = await connection.client.subscribe(f"fogbank.heard.{fleet}", cb=received)
    try:
        yield
    finally:
        if not connection.client.is_closed:
            await subscription.unsubscribe()
