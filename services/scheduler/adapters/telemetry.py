"""Heartbeats of nodes, as gateways pass them on over the broker. Not stored anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import nats.errors
import structlog
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from fogbank.log.nats_connection import NatsConnection
from fogbank.runtime.crash_points import crash_point
from fogbank.v1 import agent_service_pb2

_log = structlog.get_logger("scheduler")

# A message of so many is a few hundred KB; the broker takes 1 MB.
_AT_ONCE = 5_000


@asynccontextmanager
async def heartbeats(
    connection: NatsConnection, fleet: str, heard: Callable[[str, int, int], None]
) -> AsyncIterator[None]:
    """Call `heard(node_id, epoch, number)` for each heartbeat while the context lasts."""

    async def take(message: Msg) -> None:
        try:
            telemetry = agent_service_pb2.Telemetry.FromString(message.data)
        except DecodeError:
            _log.warning("telemetry that cannot be decoded", subject=message.subject)
            return
        heard(telemetry.node_id, telemetry.epoch, telemetry.number)
        crash_point("scheduler.after-telemetry")

    subscription = await connection.client.subscribe(f"fogbank.telemetry.{fleet}.*", cb=take)
    try:
        yield
    finally:
        if not connection.client.is_closed:
            await subscription.unsubscribe()


class NatsAnswers:
    """Publishes on `fogbank.heard.<fleet>`; its `publish` is what `Answering` wants."""

    def __init__(self, connection: NatsConnection, fleet: str) -> None:
        self._connection = connection
        self._subject = f"fogbank.heard.{fleet}"

    async def publish(self, instance: str, heartbeats: Sequence[tuple[str, int, int]]) -> None:
        for first in range(0, len(heartbeats), _AT_ONCE):
            message = agent_service_pb2.HeardHeartbeats(
                instance=instance,
                heartbeats=[
                    agent_service_pb2.HeardHeartbeat(node_id=node_id, epoch=epoch, number=number)
                    for node_id, epoch, number in heartbeats[first : first + _AT_ONCE]
                ],
            )
            if not self._connection.is_connected:
                return  # the client would keep it and send it late
            try:
                await self._connection.client.publish(self._subject, message.SerializeToString())
            except (nats.errors.Error, OSError) as error:
                _log.debug("heartbeats not answered", error=repr(error))
