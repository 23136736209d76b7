"""The events that others name as their causes, looked up in the log."""

from __future__ import annotations

from collections import OrderedDict

from fogbank.codec.views import timestamp_to_pb
from fogbank.domain.position import index_of, pack, sequence_of
from fogbank.log.port import EventLog
from fogbank.v1 import audit_service_pb2 as pb
from fogbank.v1 import log_pb2

# Most events of one thing have few causes, and many things the same ones.
_KEPT_COMMITS = 1_000


class Causes:
    """Names causes; the commits looked at last are kept."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._kept: OrderedDict[int, tuple[pb.EventCause, ...]] = OrderedDict()

    async def name(self, message: pb.ReadEventsResponse) -> None:
        """Put into each event of a message what its envelope's causes are."""
        for logged in message.events:
            for position in dict.fromkeys(logged.envelope.causes):
                found = await self._cause(position)
                if found is not None:
                    logged.causes.append(found)

    async def _cause(self, position: int) -> pb.EventCause | None:
        sequence, index = sequence_of(position), index_of(position)
        if sequence <= 0:
            return None
        kept = self._kept.get(sequence)
        if kept is None:
            kept = self._kept[sequence] = await self._commit(sequence)
            if len(self._kept) > _KEPT_COMMITS:
                self._kept.popitem(last=False)
        return kept[index] if index < len(kept) else None

    async def _commit(self, sequence: int) -> tuple[pb.EventCause, ...]:
        async for batch in self._log.read(sequence, sequence):
            for stored in batch:
                commit = log_pb2.Commit.FromString(stored.data)
                appended_at = timestamp_to_pb(commit.appended_at_us)
                return tuple(
                    pb.EventCause(
                        position=pack(sequence, index),
                        event_id=envelope.event_id,
                        type=envelope.type,
                        aggregate=envelope.aggregate,
                        actor=envelope.actor,
                        appended_at=appended_at,
                    )
                    for index, envelope in enumerate(commit.events)
                )
        return ()
