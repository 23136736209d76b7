"""AgentService: the streams of node agents, messages to the session's words and back."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio

from fogbank.codec import errands
from fogbank.codec.containers import container_to_pb
from fogbank.codec.facts import observation_from_pb
from fogbank.codec.values import details_from_pb, fingerprint_from_pb, resources_to_pb
from fogbank.domain.errands import Brought, Errand
from fogbank.domain.errors import (
    FogError,
    InvalidArgumentError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.reasons import cut_reason
from fogbank.runtime.grpc_interceptors import take_first
from fogbank.runtime.grpc_tls import peer_certificate
from fogbank.v1 import agent_service_pb2 as pb
from fogbank.v1 import agent_service_pb2_grpc as rpc
from fogbank.v1 import deployments_pb2, facts_pb2
from services.gateway.app.agent_session import AgentSession
from services.gateway.app.agents import Agents
from services.gateway.app.deliveries import Taker, cut_off
from services.gateway.app.errands import Errands
from services.gateway.app.joining import Joining, ShownCertificate
from services.gateway.app.limits import Limits
from services.gateway.core import agent_messages as msg
from services.gateway.core import observations
from services.gateway.core.hello import Hello
from services.gateway.grpc_api.authentication import address_of

Context = grpc.aio.ServicerContext[Any, Any]

_FIRST_MESSAGE_S = 10.0
_US_PER_S = 1_000_000
# Four times what agents bring at once; several of them wait for a user who reads slowly.
_MOST_PIECE_BYTES = 64 * 1024


class AgentService(rpc.AgentServiceServicer):
    """Takes the streams of agents that have the fleet's bearer."""

    def __init__(  # noqa: PLR0917  the parts behind it
        self,
        agents: Agents,
        joining: Joining,
        errands: Errands,
        limits: Limits,
        token: str,
        fleet: str,
    ) -> None:
        """Know whom to let in; without a `token` agents come with certificates only."""
        self._agents = agents
        self._joining = joining
        self._errands = errands
        self._limits = limits
        self._expected = f"Bearer {token}".encode() if token else b""
        self._fleet = fleet

    async def Join(self, request: pb.JoinRequest, context: Context) -> pb.JoinResponse:
        """Trade a join token for a certificate; counted by address, as all who aren't known."""
        self._limits.anonymous(address_of(context))
        async with self._agents.handshakes.place():
            signed = await self._joining.join(
                request.token, request.node_id, request.certificate_request
            )
        return pb.JoinResponse(
            certificate_pem=signed.certificate_pem, authority_pem=signed.authority_pem
        )

    async def Connect(
        self, request_iterator: AsyncIterator[pb.ConnectRequest], context: Context
    ) -> AsyncIterator[pb.ConnectResponse]:
        """Shake hands with an agent, then listen and talk until either side has enough."""
        shown = await self._caller(request_iterator, context)
        requests = aiter(request_iterator)
        hello = await _hello(requests)
        await self._joining.check(hello, shown)
        trusted_until_us = shown.ends_at_us if shown is not None else None
        async with (
            self._agents.session(hello, trusted_until_us) as session,
            self._errands.reachable(session.node_id),
        ):
            reader = asyncio.create_task(self._listen(requests, session))
            writer = asyncio.create_task(_write(session))
            try:
                async for message in session.messages():
                    yield _response(message)
            finally:
                reader.cancel()
                writer.cancel()

    async def Serve(
        self, request_iterator: AsyncIterator[pb.ServeRequest], context: Context
    ) -> pb.ServeResponse:
        """Take what an agent brings for an errand of its own node, as fast as the user does."""
        shown = await self._caller(request_iterator, context)
        requests = aiter(request_iterator)
        errand_id = (await _first(requests, "errand_id")).errand_id

        def check_speaks_for(node_id: str) -> None:
            self._joining.speaks_for(node_id, shown)

        async with self._errands.taken(errand_id, check_speaks_for) as taker:
            try:
                # Only now does the agent begin, so nothing is run that nobody waits for.
                await context.send_initial_metadata((errands.TAKEN,))
                async for request in _while_wanted(requests, taker):
                    # The node may have been removed since.
                    check_speaks_for(taker.node_id)
                    if not await taker.put(_piece(request)):
                        return pb.ServeResponse()
            except BaseException:
                await taker.put(cut_off())
                raise
            await taker.put(None)
        return pb.ServeResponse()

    async def _caller(
        self, requests: AsyncIterator[Any], context: Context
    ) -> ShownCertificate | None:
        """Return what a caller showed that is let in; None if it came with the fleet's bearer.

        Who isn't let in is one of those without a token, and counts as such.
        """
        try:
            shown = self._shown(context)
            if shown is None:
                self._authenticate(context)
        except FogError:
            address = address_of(context)
            with self._limits.anonymous_stream(address):
                self._limits.anonymous(address)
                await take_first(requests)
            raise
        return shown

    def _authenticate(self, context: Context) -> None:
        for key, value in context.invocation_metadata() or ():
            if self._expected and key == "authorization":
                given = value if isinstance(value, bytes) else value.encode()
                if hmac.compare_digest(given, self._expected):
                    return
        if not self._expected:
            raise UnauthenticatedError(
                "agents come with certificates here: have this one join with a token of "
                "`fog nodes token`"
            )
        raise UnauthenticatedError("FOG_AGENT_TOKEN is missing or not this fleet's")

    def _shown(self, context: Context) -> ShownCertificate | None:
        """Return what a caller's certificate says, which TLS has verified."""
        certificate = peer_certificate(context)
        if certificate is None:
            return None
        identity = certificate.identity
        if identity is None or identity.kind != "node" or identity.fleet != self._fleet:
            raise PermissionDeniedError(
                f"the certificate speaks for no node of fleet {self._fleet}", reason="OTHER_NODE"
            )
        ends_at_us = round(certificate.ends_at_s * _US_PER_S)
        return ShownCertificate(identity.name, certificate.key_digest, ends_at_us)

    async def _listen(
        self, requests: AsyncIterator[pb.ConnectRequest], session: AgentSession
    ) -> None:
        """Hand on what the agent says until it ends; whatever happens ends the session."""
        try:
            async for request in requests:
                await self._agents.turn(session.node_id)
                if request.WhichOneof("message") == "certificate_renewal":
                    wish = request.certificate_renewal.certificate_request
                    session.renewed(self._joining.renew(session.node_id, wish))
                else:
                    await session.receive(_message(request))
        except Exception as error:  # noqa: BLE001 (raised again by the session, in the call's task)
            session.end(error)
        else:
            session.end()


async def _write(session: AgentSession) -> None:
    """Write down what the agent says; an error ends the session."""
    try:
        await session.write()
    except Exception as error:  # noqa: BLE001 (raised again by the session, in the call's task)
        session.end(error)


async def _first(requests: AsyncIterator[Any], kind: str) -> Any:
    """Return the first message of a stream, which must come soon and be of a kind."""
    try:
        async with asyncio.timeout(_FIRST_MESSAGE_S):
            request = await anext(requests, None)
    except TimeoutError:
        raise InvalidArgumentError(f"no {kind} came") from None
    if request is None or request.WhichOneof("message") != kind:
        raise InvalidArgumentError.of_field(kind, "must be the first message")
    return request


async def _while_wanted(
    requests: AsyncIterator[pb.ServeRequest], taker: Taker
) -> AsyncIterator[pb.ServeRequest]:
    """Yield what an agent brings; end with it, or once nobody wants more, however silent it is."""
    unwanted = asyncio.create_task(taker.unwanted())
    try:
        while True:
            coming = asyncio.ensure_future(anext(requests, None))
            try:
                await asyncio.wait({coming, unwanted}, return_when=asyncio.FIRST_COMPLETED)
                request = coming.result() if coming.done() else None
            finally:
                coming.cancel()
            if request is None:
                return
            yield request
    finally:
        unwanted.cancel()


async def _hello(requests: AsyncIterator[pb.ConnectRequest]) -> Hello:
    message = (await _first(requests, "hello")).hello
    try:
        fingerprint = fingerprint_from_pb(message.fingerprint)
    except ValueError as error:
        raise InvalidArgumentError.of_field("hello.fingerprint", str(error)) from error
    return Hello(
        message.node_id,
        message.name,
        message.last_epoch,
        message.last_sequence,
        fingerprint,
        details_from_pb(message.fingerprint),
    )


def _message(request: pb.ConnectRequest) -> msg.FromAgent:
    kind = request.WhichOneof("message")
    match kind:
        case "heartbeat":
            beat = request.heartbeat
            return msg.Heartbeat(
                beat.usage.cpu_percent,
                beat.usage.memory_percent,
                beat.reflects_sequence,
                beat.number,
            )
        case "report":
            report = request.report
            observations.require_bearable(len(report.observations))
            return msg.Report(
                report.epoch,
                report.number,
                observations.fitting(_observation(seen) for seen in report.observations),
            )
        case "capacity_change":
            host = request.capacity_change.fingerprint
            try:
                return msg.CapacityChange(fingerprint_from_pb(host), details_from_pb(host))
            except ValueError as error:
                raise InvalidArgumentError.of_field("capacity_change", str(error)) from error
        case _:
            raise InvalidArgumentError(f"a message of kind {kind} can't come here")


def _observation(message: facts_pb2.ReplicaObservation) -> ReplicaObservation:
    try:
        seen = observation_from_pb(message)
    except ValueError as error:
        raise InvalidArgumentError.of_field("report.observations", str(error)) from error
    return observations.checked(seen)


def _piece(request: pb.ServeRequest) -> Brought:
    if request.ByteSize() > _MOST_PIECE_BYTES:
        raise InvalidArgumentError(
            f"a piece may have {_MOST_PIECE_BYTES} bytes, got {request.ByteSize()}"
        )
    piece = errands.brought_from_pb(request)
    if piece is None:
        kind = request.WhichOneof("message")
        raise InvalidArgumentError(f"a message of kind {kind} can't come here")
    return replace(piece, failure=cut_reason(piece.failure))


def _response(message: msg.ToAgent) -> pb.ConnectResponse:
    match message:
        case msg.Welcome():
            return pb.ConnectResponse(
                welcome=pb.Welcome(
                    heartbeat_period_ms=message.heartbeat_period_ms,
                    epoch=message.epoch,
                    last_report_number=message.last_report_number,
                )
            )
        case msg.Assignments():
            kind = (
                pb.ASSIGNMENTS_KIND_COMPLETE
                if message.complete
                else pb.ASSIGNMENTS_KIND_INCREMENTAL
            )
            return pb.ConnectResponse(
                assignments=pb.Assignments(
                    kind=kind,
                    sequence=message.sequence,
                    previous_sequence=message.previous_sequence,
                    assignments=[_assignment(each) for each in message.assignments],
                )
            )
        case msg.Ack():
            return pb.ConnectResponse(ack=pb.Ack(number=message.number))
        case msg.HeartbeatAnswer():
            return pb.ConnectResponse(heartbeat_answer=pb.HeartbeatAnswer(number=message.number))
        case msg.Drain():
            return pb.ConnectResponse(drain=pb.Drain(reason=message.reason))
        case Errand():
            return pb.ConnectResponse(errand=errands.errand_to_pb(message))
        case msg.NodeCertificate():
            return pb.ConnectResponse(
                certificate=pb.NodeCertificate(
                    certificate_pem=message.certificate_pem, authority_pem=message.authority_pem
                )
            )


def _assignment(assignment: msg.Assignment) -> pb.Assignment:
    return pb.Assignment(
        replica_id=assignment.replica_id,
        deployment_id=assignment.deployment_id,
        deployment_name=assignment.deployment_name,
        desired=pb.DesiredState.ValueType(assignment.wanted),
        container_image=assignment.container_image,
        resources=resources_to_pb(assignment.resources),
        env=assignment.env,
        restart=deployments_pb2.RestartPolicy.ValueType(assignment.restart),
        starts_after=assignment.starts_after,
        env_missing=assignment.env_missing,
        restart_count=assignment.restart_count,
        stop_on_client_after_ms=assignment.stop_on_client_after_ms,
        gpu_devices=assignment.gpu_devices,
        container=container_to_pb(assignment.container),
        stop_within_ms=assignment.stop_within_ms,
    )
