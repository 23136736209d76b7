"""Heartbeats of nodes, as gateways pass them on over the broker. Not stored anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg

from fogbank.log.nats_connection import NatsConnection
from fogbank.runtime.crash_points import crash_point
from fogbank.v1 import agent_service_pb2

_log = structlog.get_logger("scheduler")


@asynccontextmanager
async def heartbeats(
    connection: NatsConnection, fleet: str, heard: Callable[[str, int], None]
) -> AsyncIterator[None]:
    """Call `heard(node_id, epoch)` for each heartbeat of the fleet while the context lasts."""

    async def take(message: Msg) -> None:
        try:
            telemetry = agent_service_pb2.Telemetry.FromString(message.data)
        except DecodeError:
            _log.warning("telemetry that cannot be decoded", subject=message.subject)
            return
        heard(telemetry.node_id, telemetry.epoch)
        crash_point("scheduler.after-telemetry")

    subscription = await connection.client.subscribe(f"fogbank.telemetry.{fleet}.*", cb=take)
    try:
        yield
    finally:
        if not connection.client.is_closed:
            await subscription.unsubscribe()
