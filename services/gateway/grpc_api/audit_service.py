"""AuditService: the record itself, straight from the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
from google.protobuf import json_format

from fogbank.codec import EVENT_TYPES
from fogbank.codec.views import timestamp_to_pb
from fogbank.domain.errors import InvalidArgumentError, UnimplementedError
from fogbank.log.port import EventLog, StoredCommit
from fogbank.v1 import audit_service_pb2 as pb
from fogbank.v1 import audit_service_pb2_grpc as rpc
from fogbank.v1 import log_pb2
from services.gateway.app.principal import current_principal

Context = grpc.aio.ServicerContext[Any, Any]


class AuditService(rpc.AuditServiceServicer):
    """Shows the record to administrators. `subject_prefix` is that of the log's subjects."""

    def __init__(self, log: EventLog, subject_prefix: str) -> None:
        self._log = log
        self._prefix = subject_prefix

    async def ReadEvents(
        self, request: pb.ReadEventsRequest, context: Context
    ) -> AsyncIterator[pb.ReadEventsResponse]:
        """Send the log's commits from a sequence on."""
        current_principal().require_admin()
        after = request.after_sequence
        if after < 0:
            raise InvalidArgumentError.of_field("after_sequence", "must not be negative")
        last = await self._log.last_sequence()
        if after > last:
            raise InvalidArgumentError.of_field(
                "after_sequence", f"must be at most the log's last sequence {last}, got {after}"
            )
        batches = self._log.follow(after) if request.follow else self._log.read(after + 1, last)
        async for batch in batches:
            for stored in batch:
                message = self._commit(stored, set(request.types), set(request.aggregates))
                if message.events:
                    yield message

    def _commit(
        self, stored: StoredCommit, types: set[str], aggregates: set[str]
    ) -> pb.ReadEventsResponse:
        commit = log_pb2.Commit.FromString(stored.data)
        return pb.ReadEventsResponse(
            sequence=stored.sequence,
            subject=f"{self._prefix}{stored.writer.service}.{stored.writer.instance}",
            appended_at=timestamp_to_pb(commit.appended_at_us),
            events=[
                pb.LoggedEvent(index=index, envelope=envelope, payload_json=_as_json(envelope))
                for index, envelope in enumerate(commit.events)
                if (not types or envelope.type in types)
                and (not aggregates or envelope.aggregate in aggregates)
            ],
        )

    async def GetStateAt(
        self, request: pb.GetStateAtRequest, context: Context
    ) -> pb.GetStateAtResponse:
        """Not built yet."""
        raise UnimplementedError("GetStateAt is not built yet")

    def VerifyLog(
        self, request: pb.VerifyLogRequest, context: Context
    ) -> AsyncIterator[pb.VerifyLogResponse]:
        """Not built yet."""
        raise UnimplementedError("VerifyLog is not built yet")

    def VerifyDecisions(
        self, request: pb.VerifyDecisionsRequest, context: Context
    ) -> AsyncIterator[pb.VerifyDecisionsResponse]:
        """Not built yet."""
        raise UnimplementedError("VerifyDecisions is not built yet")

    def CompareReplay(
        self, request: pb.CompareReplayRequest, context: Context
    ) -> AsyncIterator[pb.CompareReplayResponse]:
        """Not built yet."""
        raise UnimplementedError("CompareReplay is not built yet")


def _as_json(envelope: log_pb2.EventEnvelope) -> str:
    """Return a payload as JSON, with the names of the contract; empty for an unknown type."""
    kind = EVENT_TYPES.get(envelope.type)
    if kind is None:
        return ""
    return json_format.MessageToJson(
        kind.message.FromString(envelope.payload), preserving_proto_field_name=True, indent=None
    )
