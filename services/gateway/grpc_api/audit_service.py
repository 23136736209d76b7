"""AuditService: the record itself, straight from the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio
from google.protobuf import json_format

from fogbank.codec import EVENT_TYPES, decode_commit, encode_envelope
from fogbank.codec.audit import rederived_to_pb
from fogbank.codec.comparison import compared_to_pb
from fogbank.codec.log_evidence import proof_to_pb, scrub_to_pb, signed_to_pb, verified_to_pb
from fogbank.codec.policies import policy_from_pb
from fogbank.codec.views import deployment_to_pb, moment_from_pb, node_to_pb, timestamp_to_pb
from fogbank.domain.envelope import Commit, EventEnvelope
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.events import Event, RoundDecided
from fogbank.log.port import EventLog, StoredCommit
from fogbank.v1 import audit_service_pb2 as pb
from fogbank.v1 import audit_service_pb2_grpc as rpc
from fogbank.v1 import log_pb2, rounds_pb2
from fogbank.v1.moments_pb2 import Moment
from services.gateway.app.events import STRETCH_COMMITS, Events
from services.gateway.app.organizations import Organizations
from services.gateway.app.past import Past
from services.gateway.app.ports import LedgerAudits, Recorded
from services.gateway.app.principal import Principal, current_principal
from services.gateway.app.records import Records
from services.gateway.core import policies
from services.gateway.core.causes import causes_of_part
from services.gateway.core.service_accounts import Scope
from services.gateway.core.subjects import SubjectFilter
from services.gateway.core.touching import Touching
from services.gateway.grpc_api.causes import Causes

Context = grpc.aio.ServicerContext[Any, Any]

_USER = "user"


class AuditService(rpc.AuditServiceServicer):
    """Shows the record: all of it to administrators, to others what is theirs.

    `subject_prefix` is what the log's subjects begin with.
    """

    def __init__(
        self,
        log: EventLog,
        events: Events,
        ledger: LedgerAudits,
        past: Past,
        organizations: Organizations,
        *,
        subject_prefix: str,
    ) -> None:
        self._log = log
        self._events = events
        self._ledger = ledger
        self._past = past
        self._organizations = organizations
        self._prefix = subject_prefix
        self._causes = Causes(log)
        self._records = Records(log, ledger)

    async def ReadEvents(
        self, request: pb.ReadEventsRequest, context: Context
    ) -> AsyncIterator[pb.ReadEventsResponse]:
        """Send the log's commits from a sequence on."""
        principal = current_principal()
        after = request.after_sequence
        if after < 0:
            raise InvalidArgumentError.of_field("after_sequence", "must not be negative")
        await self._events.check_reached(after, "after_sequence")
        last = await self._log.last_sequence()
        wanted = _Wanted(
            frozenset(request.types),
            frozenset(request.aggregates),
            SubjectFilter.parse(request.subjects),
        )
        upto = None if request.follow else last
        if request.touching:
            messages = self._touching(principal, wanted, request.touching, after, upto)
        elif principal.sees_all:
            messages = self._everything(wanted, after, upto)
        else:
            messages = self._own(principal, wanted, after, upto)
        told = after
        async with aclosing(messages):
            async for message in messages:
                # Who comes again would have what the filters left out read once more.
                far = message.sequence - told >= STRETCH_COMMITS
                if message.events or far or message.sequence == last > told:
                    told = message.sequence
                    message.last_sequence = upto or 0
                    yield message

    async def _everything(
        self, wanted: _Wanted, after: int, upto: int | None
    ) -> AsyncGenerator[pb.ReadEventsResponse, None]:
        """Yield a message for each commit as the log has it, byte for byte."""
        batches = self._log.follow(after) if upto is None else self._log.read(after + 1, upto)
        async for batch in batches:
            for stored in batch:
                message = pb.ReadEventsResponse(sequence=stored.sequence)
                if wanted.subjects.fits(self._subject(stored)):
                    commit = log_pb2.Commit.FromString(stored.data)
                    envelopes = wanted.of(enumerate(commit.events))
                    message = self._response(stored, commit.appended_at_us, envelopes)
                yield message

    async def _touching(
        self, principal: Principal, wanted: _Wanted, name: str, after: int, upto: int | None
    ) -> AsyncGenerator[pb.ReadEventsResponse, None]:
        """Yield a message for each commit that may touch a thing, and for how far it was read."""
        thing, ledger_id = await self._events.touching(principal, name)
        found = self._records.of(thing, ledger_id, after, upto)
        names: dict[str, str] = {}
        async with aclosing(found):
            async for recorded in found:
                message = pb.ReadEventsResponse(sequence=recorded.sequence)
                stored = recorded.stored
                if stored is not None and wanted.subjects.fits(self._subject(stored)):
                    message = self._recorded(principal, wanted, thing, recorded)
                    for logged in message.events:
                        logged.void = logged.index in recorded.void
                    await self._causes.name(message)
                    await self._name_actors(principal, message, names)
                message.touching = f"{thing.kind}/{thing.id}"
                yield message

    async def _name_actors(
        self, principal: Principal, message: pb.ReadEventsResponse, names: dict[str, str]
    ) -> None:
        """Put in the names of users that acted; `names` are those known of, empty for none."""
        actors = {logged.envelope.actor for logged in message.events}
        actors |= {cause.actor for logged in message.events for cause in logged.causes}
        ids = {id_ for kind, _, id_ in (actor.partition("/") for actor in actors) if kind == _USER}
        if fresh := ids - names.keys():
            names |= dict.fromkeys(fresh, "")
            names |= await self._organizations.user_names(principal, fresh)
        message.actor_names.update({id_: names[id_] for id_ in ids if names[id_]})

    def _recorded(
        self, principal: Principal, wanted: _Wanted, thing: Touching, recorded: Recorded
    ) -> pb.ReadEventsResponse:
        """Return what of a commit touches a thing; to administrators byte for byte if all does."""
        assert recorded.stored is not None  # noqa: S101  else there is nothing to show
        stored, indexes = recorded.stored, recorded.indexes
        writer = stored.writer
        # A round may decide about hundreds, of which few are the thing's.
        commit = decode_commit(
            *(stored.sequence, writer.service, writer.instance, stored.data),
            only=indexes,
            outcomes=None if thing.kind.numbered else thing.is_among,
        )
        if principal.sees_all or thing.kind.numbered:
            raw = log_pb2.Commit.FromString(stored.data).events
            envelopes = _touching(thing, commit, wanted.of(enumerate(raw)))
        else:
            seen = self._events.seen(principal, commit, thing)
            own = (
                (index, replace(commit.envelopes[index], event=event))
                for index, event in zip(seen.indexes, seen.events, strict=True)
                if event is not None
            )
            envelopes = wanted.of(
                (index, _envelope(commit.envelopes[index], part))
                for index, envelope in own
                if (part := thing.part_of(envelope)) is not None
            )
        named = (each for each in envelopes if indexes is None or each[0] in indexes)
        return self._response(stored, commit.appended_at_us, named)

    async def _own(
        self, principal: Principal, wanted: _Wanted, after: int, upto: int | None
    ) -> AsyncGenerator[pb.ReadEventsResponse, None]:
        """Yield a message for each commit, with what of it is a user's business."""
        if upto is not None and after >= upto:
            return
        async for seen in self._events.follow(principal, after):
            commit = seen.commit
            envelopes = (
                (index, _envelope(commit.envelopes[index], event))
                for index, event in zip(seen.indexes, seen.events, strict=True)
                if event is not None
            )
            message = pb.ReadEventsResponse(sequence=commit.sequence)
            if wanted.subjects.fits(self._subject(commit)):
                message = self._response(commit, commit.appended_at_us, wanted.of(envelopes))
            yield message
            if upto is not None and commit.sequence >= upto:
                return

    def _response(
        self,
        commit: Commit | StoredCommit,
        appended_at_us: int,
        envelopes: Iterable[tuple[int, log_pb2.EventEnvelope]],
    ) -> pb.ReadEventsResponse:
        """Return a commit's message; where none of its events is to be shown, its place alone."""
        logged = [
            pb.LoggedEvent(index=index, envelope=envelope, payload_json=_as_json(envelope))
            for index, envelope in envelopes
        ]
        if not logged:
            return pb.ReadEventsResponse(sequence=commit.sequence)
        return pb.ReadEventsResponse(
            sequence=commit.sequence,
            subject=self._subject(commit),
            appended_at=timestamp_to_pb(appended_at_us),
            events=logged,
        )

    def _subject(self, commit: Commit | StoredCommit) -> str:
        writer = commit.writer if isinstance(commit, StoredCommit) else commit
        return f"{self._prefix}{writer.service}.{writer.instance}"

    async def GetStateAt(
        self, request: pb.GetStateAtRequest, context: Context
    ) -> pb.GetStateAtResponse:
        """Show the state at a past moment."""
        principal = current_principal()
        match request.WhichOneof("at"):
            case "sequence":
                moment = moment_from_pb(Moment(sequence=request.sequence))
            case "time":
                moment = moment_from_pb(Moment(time=request.time))
            case _:
                moment = None
        if moment is None:
            raise InvalidArgumentError.of_field("at", "must be a sequence or a time")
        then = await self._past.state_at(principal, moment, request.aggregate)
        return pb.GetStateAtResponse(
            as_of_sequence=then.sequence,
            deployments=[deployment_to_pb(view) for view in then.deployments],
            nodes=[node_to_pb(view) for view in then.nodes],
        )

    async def VerifyLog(
        self, request: pb.VerifyLogRequest, context: Context
    ) -> AsyncIterator[pb.VerifyLogResponse]:
        """Let the ledger compare the log with what it knows of it, and pass on what comes of it."""
        current_principal().require_admin(Scope.AUDIT)
        parts = self._ledger.verify_log(request.from_sequence, request.to_sequence)
        async with aclosing(parts):
            async for part in parts:
                yield verified_to_pb(part)

    async def GetLogCheckpoint(
        self, request: pb.GetLogCheckpointRequest, context: Context
    ) -> pb.GetLogCheckpointResponse:
        """Return the log as it was signed last: that shows nothing of what is in it."""
        if request.fresh:
            current_principal().require_admin(Scope.AUDIT)
        return signed_to_pb(await self._ledger.signed_log(fresh=request.fresh))

    async def GetLogScrub(
        self, request: pb.GetLogScrubRequest, context: Context
    ) -> pb.GetLogScrubResponse:
        """Return what the last scrub of the log and its copy came to."""
        current_principal().require_admin(Scope.AUDIT)
        return scrub_to_pb(await self._ledger.scrub())

    async def ProveCommit(
        self, request: pb.ProveCommitRequest, context: Context
    ) -> pb.ProveCommitResponse:
        """Return a commit with the proof that it is in the log."""
        current_principal().require_admin(Scope.AUDIT)
        return proof_to_pb(await self._ledger.prove(request.sequence))

    async def VerifyDecisions(
        self, request: pb.VerifyDecisionsRequest, context: Context
    ) -> AsyncIterator[pb.VerifyDecisionsResponse]:
        """Let the ledger derive a span's rounds again, and pass on what comes of it."""
        current_principal().require_admin(Scope.AUDIT)
        parts = self._ledger.rederive(request.from_sequence, request.to_sequence)
        async with aclosing(parts), aclosing(rederived_to_pb(parts)) as messages:
            async for message in messages:
                yield message

    async def CompareReplay(
        self, request: pb.CompareReplayRequest, context: Context
    ) -> AsyncIterator[pb.CompareReplayResponse]:
        """Let the ledger decide a span by another policy, and pass on what comes of it."""
        current_principal().require_admin(Scope.AUDIT)
        if bool(request.policy_name) == request.HasField("policy"):
            raise InvalidArgumentError.of_field(
                "policy", "must be given whole, or by a known policy's name: one of both"
            )
        name = request.policy_name
        policy = policies.named(name) if name else policy_from_pb(request.policy)
        policies.check(policy)
        parts = self._ledger.compare(policy, request.from_sequence, request.to_sequence)
        async with aclosing(parts):
            async for part in parts:
                yield compared_to_pb(part)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which events were asked for, and of which commits; empty for all."""

    types: frozenset[str]
    aggregates: frozenset[str]
    subjects: SubjectFilter

    def of(
        self, envelopes: Iterable[tuple[int, log_pb2.EventEnvelope]]
    ) -> Iterator[tuple[int, log_pb2.EventEnvelope]]:
        """Yield those that were asked for."""
        for index, envelope in envelopes:
            if self.types and envelope.type not in self.types:
                continue
            if self.aggregates and envelope.aggregate not in self.aggregates:
                continue
            yield index, envelope


def _touching(
    thing: Touching, commit: Commit, envelopes: Iterable[tuple[int, log_pb2.EventEnvelope]]
) -> Iterator[tuple[int, log_pb2.EventEnvelope]]:
    """Yield what of a commit's envelopes touches a thing, byte for byte where all of it does."""
    for index, envelope in envelopes:
        event = commit.envelopes[index].event
        part = thing.part_of(commit.envelopes[index])
        if part is not None:
            whole = part == event and not _is_narrowed(envelope, part)
            yield index, envelope if whole else _envelope(commit.envelopes[index], part)


def _is_narrowed(envelope: log_pb2.EventEnvelope, part: Event) -> bool:
    """Tell whether a part is of a round that has more outcomes."""
    if not isinstance(part, RoundDecided):
        return False
    return len(rounds_pb2.RoundDecided.FromString(envelope.payload).outcomes) > len(part.outcomes)


def _envelope(envelope: EventEnvelope, event: Event) -> log_pb2.EventEnvelope:
    """Return an envelope around what of its event may be shown."""
    shown = replace(envelope, event=event, causes=causes_of_part(envelope, event))
    return log_pb2.EventEnvelope.FromString(encode_envelope(shown))


def _as_json(envelope: log_pb2.EventEnvelope) -> str:
    """Return a payload as JSON, with the names of the contract; empty for an unknown type."""
    kind = EVENT_TYPES.get(envelope.type)
    if kind is None:
        return ""
    return json_format.MessageToJson(
        kind.message.FromString(envelope.payload), preserving_proto_field_name=True, indent=None
    )
