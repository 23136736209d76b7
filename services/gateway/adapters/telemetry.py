"""Signs of life, passed on to whoever listens on the broker."""

from __future__ import annotations

import nats.errors
import structlog

from fogbank.log.nats_connection import NatsConnection
from fogbank.v1 import agent_service_pb2, resources_pb2
from services.gateway.app.ports import Heard

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
        )
        try:
            await self._connection.client.publish(
                self._prefix + heard.node_id, message.SerializeToString()
            )
        except (nats.errors.Error, OSError) as error:
            _log.debug("sign of life not passed on", node=heard.node_id, error=repr(error))
