"""`AgentService.Connect` over grpc.aio: the contract's messages to the core's words and back.

All nodes of a process share one connection per gateway address.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import grpc
import grpc.aio
import structlog

from fogbank.codec import errands
from fogbank.codec.containers import container_from_pb, ports_to_pb
from fogbank.domain.errands import Brought, Errand
from fogbank.domain.node import Fingerprint, HostDetails
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.resources import Resources
from fogbank.domain.states import RestartPolicy
from fogbank.runtime.certificate_ends import CertificateError
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.runtime.tls_errors import tls_advice
from fogbank.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    deployments_pb2,
    facts_pb2,
    nodes_pb2,
    resources_pb2,
)
from services.node_agent.adapters.gateway_channels import GatewayChannels
from services.node_agent.adapters.node_credentials import NodeCredentials
from services.node_agent.app.ports import ErrandRefusedError, GatewayError
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.replica import Assignment, Desired, ReplicaSpec

_log = structlog.get_logger(__name__)

# After these, dialling again soon changes nothing: somebody has to mend something first.
_REFUSALS = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


# Between two wishes for a new certificate, should the first not be answered.
_LEAST_RENEWAL_PAUSE_S = 1.0
_LOOK_AT_CLOCK_S = 60.0
# After the key could not be read, or was no key.
_RENEWAL_RETRY_S = 30.0

_MS_PER_S = 1_000

# The reason that a gateway gives a node that was removed from the fleet.
_REMOVED = "NODE_REMOVED"


class GrpcGateways:
    """Gateways by address, `host:port` each. Use it as an async context manager."""

    def __init__(
        self,
        addresses: Sequence[str],
        token: str = "",
        credentials: NodeCredentials | None = None,
    ) -> None:
        """Know the addresses; `token` goes along as the bearer of every stream.

        With `credentials` it serves that one node, which shows its certificate.
        """
        if not addresses:
            raise ValueError("at least one gateway address is needed")
        self._addresses = tuple(addresses)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._credentials = credentials
        self._channels = GatewayChannels(credentials)
        self._node_id = ""

    async def __aenter__(self) -> Self:
        """Nothing is dialled before the first stream."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self._channels.close()

    @property
    def count(self) -> int:
        return len(self._addresses)

    @asynccontextmanager
    async def open(self, number: int, node_id: str, name: str) -> AsyncIterator[GrpcStream]:
        self._node_id = node_id
        async with self._channels.lent(self._addresses[number], node_id) as channel:
            stream = GrpcStream(channel, self._metadata, node_id, name, self._credentials)
            renewing = asyncio.create_task(stream.keep_fresh())
            try:
                yield stream
            finally:
                renewing.cancel()
                stream.close()

    async def serve(self, number: int, errand_id: str, brought: AsyncIterator[Brought]) -> None:
        async with self._channels.lent(self._addresses[number], self._node_id) as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            call = stub.Serve(metadata=self._metadata)
            # Not left to the call: it would go on waiting for a silent container after its own end.
            taken = asyncio.Event()
            bringing = asyncio.create_task(_bring(call, errand_id, brought, taken))
            try:
                await call
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND and not taken.is_set():
                    raise ErrandRefusedError from error
                raise GatewayError(f"{error.code().name}: {error.details()}") from error
            finally:
                bringing.cancel()
                await asyncio.gather(bringing, return_exceptions=True)


class GrpcStream:
    """One call of `Connect`."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: tuple[tuple[str, str], ...],
        node_id: str,
        name: str,
        credentials: NodeCredentials | None = None,
    ) -> None:
        self._credentials = credentials
        self._welcomed = asyncio.Event()
        self._node_id = node_id
        self._name = name
        # None ends it.
        self._outgoing: asyncio.Queue[agent_service_pb2.ConnectRequest | None] = asyncio.Queue()
        stub = agent_service_pb2_grpc.AgentServiceStub(channel)
        self._call = stub.Connect(self._requests(), metadata=metadata)

    def send(self, message: ef.Outgoing) -> None:
        self._outgoing.put_nowait(_request(message, self._node_id, self._name))

    async def messages(self) -> AsyncIterator[st.GatewayMessage | Errand]:
        try:
            async for response in self._call:
                if response.WhichOneof("message") == "certificate":
                    await self._keep(response.certificate)
                    continue
                if response.WhichOneof("message") == "welcome":
                    self._welcomed.set()
                message = _message(response)
                if message is None:
                    _log.warning("unknown message from gateway", node=self._name)
                else:
                    yield message
        except grpc.aio.AioRpcError as error:
            code = error.code()
            advice, told = tls_advice(error.details() or ""), from_rpc_error(error)
            busy = code is grpc.StatusCode.RESOURCE_EXHAUSTED
            raise GatewayError(
                f"{code.name}: {advice or error.details()}",
                refused=code in _REFUSALS,
                removed=told.reason == _REMOVED,
                retry_after_s=(told.retry_after_ms or 0) / _MS_PER_S if busy else 0,
            ) from error
        except ValueError as error:
            raise GatewayError(f"a message that makes no sense: {error}") from error
        except asyncio.CancelledError:
            # The reader was cancelled, or else the call: that is how an end by `close` shows.
            reader = asyncio.current_task()
            if reader is not None and reader.cancelling():
                raise

    async def keep_fresh(self) -> None:
        """Ask for a new certificate whenever it is time; does nothing for a node without one."""
        if self._credentials is None:
            return
        await self._welcomed.wait()
        # Kept for as long as the stream: a gateway that doesn't answer is asked again with it, and
        # to make one takes a process.
        request = b""
        while True:
            wait_s = self._credentials.renew_at_s - time.time()
            # Timers know nothing of a clock that is set, nor of the time in which the host sleeps.
            pause_s = min(wait_s, _LOOK_AT_CLOCK_S)
            await asyncio.sleep(max(_LEAST_RENEWAL_PAUSE_S, pause_s))
            if self._credentials.renew_at_s > time.time():
                continue
            try:
                request = request or await self._credentials.request(self._node_id)
            except GatewayError as error:
                _log.error("no new certificate can be asked for", node=self._name, error=str(error))
                await asyncio.sleep(_RENEWAL_RETRY_S)
                continue
            self._outgoing.put_nowait(
                agent_service_pb2.ConnectRequest(
                    certificate_renewal=agent_service_pb2.CertificateRenewal(
                        certificate_request=request
                    )
                )
            )

    async def _keep(self, certificate: agent_service_pb2.NodeCertificate) -> None:
        if self._credentials is None:
            return
        try:
            await self._credentials.keep(certificate.certificate_pem, certificate.authority_pem)
            _log.info("certificate renewed", node=self._name)
        except (OSError, CertificateError) as error:
            _log.error("a new certificate can't be kept", node=self._name, error=str(error))

    def close(self) -> None:
        self._call.cancel()
        # A call that failed by itself leaves its reader of requests waiting.
        self._outgoing.put_nowait(None)

    async def _requests(self) -> AsyncIterator[agent_service_pb2.ConnectRequest]:
        while (request := await self._outgoing.get()) is not None:
            yield request


def _request(message: ef.Outgoing, node_id: str, name: str) -> agent_service_pb2.ConnectRequest:
    match message:
        case ef.Hello(last_epoch, last_sequence, fingerprint, running, details):
            return agent_service_pb2.ConnectRequest(
                hello=agent_service_pb2.Hello(
                    node_id=node_id,
                    name=name,
                    last_epoch=last_epoch,
                    last_sequence=last_sequence,
                    fingerprint=_fingerprint(fingerprint, details),
                    running=[_observation(seen) for seen in running],
                )
            )
        case ef.Heartbeat(cpu_percent, memory_percent, reflects_sequence, number):
            return agent_service_pb2.ConnectRequest(
                heartbeat=agent_service_pb2.Heartbeat(
                    usage=resources_pb2.Usage(
                        cpu_percent=cpu_percent, memory_percent=memory_percent
                    ),
                    reflects_sequence=reflects_sequence,
                    number=number,
                )
            )
        case ef.Report(epoch, number, observations):
            return agent_service_pb2.ConnectRequest(
                report=agent_service_pb2.Report(
                    epoch=epoch,
                    number=number,
                    observations=[_observation(seen) for seen in observations],
                )
            )
        case ef.CapacityChange(fingerprint, details):
            return agent_service_pb2.ConnectRequest(
                capacity_change=agent_service_pb2.CapacityChange(
                    fingerprint=_fingerprint(fingerprint, details)
                )
            )


def _fingerprint(fingerprint: Fingerprint, details: HostDetails) -> nodes_pb2.Fingerprint:
    return nodes_pb2.Fingerprint(
        capacity=_resources(fingerprint.capacity),
        allocatable=_resources(fingerprint.allocatable),
        arch=fingerprint.arch,
        os=fingerprint.os,
        region=fingerprint.region,
        gpu_model=fingerprint.gpu_model,
        labels=dict(fingerprint.labels),
        runtime=nodes_pb2.RuntimeKind.ValueType(fingerprint.runtime),
        agent_version=fingerprint.agent_version,
        details=nodes_pb2.HostDetails(
            kernel_release=details.kernel_release,
            engine_name=details.engine_name,
            engine_version=details.engine_version,
            image_disk_gib=details.image_disk_gib,
            volume_disk_gib=details.volume_disk_gib,
            gpus=[
                nodes_pb2.Gpu(model=gpu.model, memory_mib=gpu.memory_mib) for gpu in details.gpus
            ],
        ),
    )


def _resources(resources: Resources) -> resources_pb2.Resources:
    return resources_pb2.Resources(
        cpu_millicores=resources.cpu_millicores,
        memory_mib=resources.memory_mib,
        storage_gib=resources.storage_gib,
        gpu_thousandths=resources.gpu_thousandths,
    )


def _observation(seen: ReplicaObservation) -> facts_pb2.ReplicaObservation:
    return facts_pb2.ReplicaObservation(
        replica_id=seen.replica_id,
        restart_count=seen.restart_count,
        state=deployments_pb2.ReplicaState.ValueType(seen.state),
        container_id=seen.container_id,
        started_at_us=seen.started_at_us,
        health=deployments_pb2.Health.ValueType(seen.health),
        final=seen.final,
        exit_code=seen.exit_code,
        reason=seen.reason,
        observed_at_us=seen.observed_at_us,
        ports=ports_to_pb(seen.ports),
        unobtainable=seen.unobtainable,
    )


async def _bring(
    call: grpc.aio.StreamUnaryCall[agent_service_pb2.ServeRequest, agent_service_pb2.ServeResponse],
    errand_id: str,
    brought: AsyncIterator[Brought],
    taken: asyncio.Event,
) -> None:
    """Write all pieces to a call, once it is `taken`; whatever goes wrong ends it."""
    try:
        await call.write(agent_service_pb2.ServeRequest(errand_id=errand_id))
        key, value = errands.TAKEN
        if (await call.initial_metadata()).get(key) != value:
            return  # (a refusal comes)
        taken.set()
        async for piece in brought:
            await call.write(errands.brought_to_pb(piece))
        await call.done_writing()
    except BaseException:  # (what the call ended with is raised where it is awaited)
        call.cancel()
        raise


def _message(
    response: agent_service_pb2.ConnectResponse,
) -> st.GatewayMessage | Errand | None:
    """Return the core's word for it; None for one that this release doesn't know."""
    match response.WhichOneof("message"):
        case "welcome":
            welcome = response.welcome
            return st.Welcomed(
                welcome.heartbeat_period_ms, welcome.epoch, welcome.last_report_number
            )
        case "assignments":
            return _assigned(response.assignments)
        case "ack":
            return st.Acknowledged(response.ack.number)
        case "heartbeat_answer":
            return st.HeartbeatAnswered(response.heartbeat_answer.number)
        case "drain":
            return st.DrainAsked(response.drain.reason)
        case "errand":
            return errands.errand_from_pb(response.errand)
        case _:
            return None


def _assigned(message: agent_service_pb2.Assignments) -> st.Assigned:
    kind = message.kind
    if kind == agent_service_pb2.ASSIGNMENTS_KIND_UNSPECIFIED:
        raise ValueError("assignments of no kind")
    return st.Assigned(
        complete=kind == agent_service_pb2.ASSIGNMENTS_KIND_COMPLETE,
        sequence=message.sequence,
        previous_sequence=message.previous_sequence,
        assignments=tuple(_assignment(each) for each in message.assignments),
    )


def _assignment(message: agent_service_pb2.Assignment) -> Assignment:
    resources = message.resources
    return Assignment(
        message.replica_id,
        Desired(message.desired),
        ReplicaSpec(
            message.deployment_id,
            message.deployment_name,
            message.container_image,
            Resources(
                resources.cpu_millicores,
                resources.memory_mib,
                resources.storage_gib,
                resources.gpu_thousandths,
            ),
            dict(message.env),
            RestartPolicy(message.restart or RestartPolicy.ALWAYS),
            tuple(message.starts_after),
            message.stop_on_client_after_ms,
            tuple(message.gpu_devices),
            container_from_pb(message.container),
        ),
        message.env_missing,
        message.restart_count,
        message.stop_within_ms,
    )
