"""Commits to bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from google.protobuf.message import DecodeError

from fogbank.codec.errors import CodecError, UnknownEventError
from fogbank.codec.registry import BY_DOMAIN, EVENT_TYPES
from fogbank.domain.envelope import CommandTerms, Commit, EventEnvelope
from fogbank.domain.ids import digest
from fogbank.domain.position import MAX_EVENTS_PER_COMMIT
from fogbank.v1 import log_pb2, rounds_pb2


def encode_envelope(envelope: EventEnvelope) -> bytes:
    """Return an envelope's bytes."""
    if envelope.event is None:
        message = "an event of an unknown type cannot be written"
        raise CodecError(message)
    kind = BY_DOMAIN[type(envelope.event)]
    command = envelope.command
    return log_pb2.EventEnvelope(
        event_id=envelope.event_id,
        type=kind.name,
        aggregate=envelope.aggregate,
        actor=envelope.actor,
        causation_id=envelope.causation_id,
        correlation_id=envelope.correlation_id,
        traceparent=envelope.traceparent,
        occurred_at_us=envelope.occurred_at_us,
        may_ignore=envelope.may_ignore,
        payload=kind.to_pb(envelope.event).SerializeToString(deterministic=True),
        command=None
        if command is None
        else log_pb2.CommandTerms(
            content_digest=command.content_digest, expected_version=command.expected_version
        ),
        causes=envelope.causes,
    ).SerializeToString(deterministic=True)


def encode_commit(appended_at_us: int, envelopes: Sequence[bytes]) -> bytes:
    """Return the bytes of a commit of envelopes (each as `encode_envelope` made it).

    The envelopes' bytes are framed as they are, by protobuf's rule that the fields of a message
    may be concatenated, so that nothing is parsed again. CodecError for a commit that readers
    would stop at.
    """
    if not 0 < len(envelopes) <= MAX_EVENTS_PER_COMMIT:
        text = f"a commit holds 1 to {MAX_EVENTS_PER_COMMIT} events, not {len(envelopes)}"
        raise CodecError(text)
    parts = [log_pb2.Commit(appended_at_us=appended_at_us).SerializeToString()]
    for envelope in envelopes:
        parts += (_EVENTS_TAG, _varint(len(envelope)), envelope)
    return b"".join(parts)


# Field 2 of Commit, length-delimited.
_EVENTS_TAG = bytes((log_pb2.Commit.EVENTS_FIELD_NUMBER << 3 | 2,))
_SEVEN_BITS = 128


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= _SEVEN_BITS:
        encoded.append(number % _SEVEN_BITS | _SEVEN_BITS)
        number //= _SEVEN_BITS
    encoded.append(number)
    return bytes(encoded)


def decode_commit(
    sequence: int,
    service: str,
    instance: str,
    data: bytes,
    *,
    only: Collection[int] | None = None,
    outcomes: Callable[[set[str]], object] | None = None,
) -> Commit:
    """Return the commit that stored bytes hold; of events that aren't among `only` the places.

    Of rounds only those `outcomes`, with their causes, that are wanted by the ids of what they are
    about. CodecError for bytes that are no commit, UnknownEventError for an event of an unknown
    type that its writer did not mark as one to ignore.
    """
    try:
        message = log_pb2.Commit.FromString(data)
    except DecodeError as error:
        text = f"commit {sequence} cannot be decoded: {error}"
        raise CodecError(text) from error
    if not message.events:
        text = f"commit {sequence} holds no event"
        raise CodecError(text)
    if len(message.events) > MAX_EVENTS_PER_COMMIT:
        text = f"commit {sequence} holds {len(message.events)} events, more than have a position"
        raise CodecError(text)
    return Commit(
        sequence,
        service,
        instance,
        digest(data),
        message.appended_at_us,
        tuple(
            [
                _envelope(sequence, envelope, outcomes)
                if only is None or index in only
                else _LEFT_OUT
                for index, envelope in enumerate(message.events)
            ]
        ),
    )


_LEFT_OUT = EventEnvelope("", None, "", "", 0, may_ignore=True)


def _envelope(
    sequence: int,
    message: log_pb2.EventEnvelope,
    outcomes: Callable[[set[str]], object] | None,
) -> EventEnvelope:
    kind = EVENT_TYPES.get(message.type)
    if kind is None and not message.may_ignore:
        text = (
            f"commit {sequence} holds an event of type {message.type!r}, which this release "
            "does not know: upgrade before reading on"
        )
        raise UnknownEventError(text)
    causes: Sequence[int] = message.causes
    try:
        payload = None if kind is None else kind.parse(message.payload)
        if outcomes is not None and isinstance(payload, rounds_pb2.RoundDecided):
            causes = _narrow(payload, causes, outcomes)
        event = None if kind is None else kind.from_pb(payload)
    except (DecodeError, ValueError) as error:
        text = f"commit {sequence}: a {message.type} cannot be decoded: {error}"
        raise CodecError(text) from error
    command = message.command if message.HasField("command") else None
    return EventEnvelope(
        message.event_id,
        event,
        message.aggregate,
        message.actor,
        message.occurred_at_us,
        message.causation_id,
        message.correlation_id,
        message.traceparent,
        message.may_ignore,
        None if command is None else CommandTerms(command.content_digest, command.expected_version),
        # Most have none, and a tuple of an empty repeated field costs four times as much as a look.
        tuple(causes) if causes else (),
    )


def _narrow(
    decided: rounds_pb2.RoundDecided, causes: Sequence[int], wanted: Callable[[set[str]], object]
) -> Sequence[int]:
    """Leave in a round the outcomes that are wanted, and return their causes."""
    kept = [index for index, each in enumerate(decided.outcomes) if wanted(_named_by(each))]
    outcomes = [decided.outcomes[index] for index in kept]
    del decided.outcomes[:]
    decided.outcomes.extend(outcomes)
    return [causes[index] for index in kept if index < len(causes)]


def _named_by(outcome: rounds_pb2.Outcome) -> set[str]:
    """Return the ids of the deployments, replicas and nodes that an outcome is about."""
    decided = getattr(outcome, outcome.WhichOneof("outcome") or "placed")
    if isinstance(decided, rounds_pb2.DeploymentPlaced):
        named = {decided.deployment_id}
        for placement in decided.placements:
            named |= {placement.replica_id, placement.node_id, placement.replaces}
        for eviction in decided.evictions:
            named.add(eviction.deployment_id)
            named.update(eviction.replica_ids)
        return named
    one = {getattr(decided, field, "") for field in ("deployment_id", "node_id")}
    return one.union(getattr(decided, "replica_ids", ()))
