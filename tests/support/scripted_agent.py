"""An agent that says exactly what a test has it say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from fogbank.codec.values import fingerprint_to_pb
from fogbank.domain.node import Fingerprint
from fogbank.domain.states import ReplicaState
from fogbank.v1 import agent_service_pb2 as pb
from fogbank.v1 import agent_service_pb2_grpc, facts_pb2, resources_pb2
from tests.support.fleet_log import a_fingerprint, an_id
from tests.support.gateway import AGENT_TOKEN

_PATIENCE_S = 60


class ScriptedAgent:
    """One stream of a node."""

    def __init__(self, call: Any, name: str) -> None:
        self._call = call
        self.name = name
        self.node_id = an_id(name)
        self.epoch = 0
        self.last_report = 0
        self.sequence = 0

    async def say(self, **message: Any) -> None:
        """Send any message."""
        await self._call.write(pb.ConnectRequest(**message))

    async def next(self, kind: str | None = None) -> Any:
        """Return the next message, which must be of a kind."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise StreamEndedError(error.code(), error.details() or "") from error
        if response is grpc.aio.EOF:
            raise StreamEndedError(grpc.StatusCode.OK, "")
        found = response.WhichOneof("message")
        assert kind in {None, found}, f"expected {kind}, got {response}"
        return getattr(response, found)

    async def hello(
        self,
        *,
        last_epoch: int = 0,
        last_sequence: int = 0,
        fingerprint: Fingerprint | None = None,
        **changes: Any,
    ) -> None:
        """Say hello."""
        fields: dict[str, Any] = {
            "node_id": self.node_id,
            "name": self.name,
            "last_epoch": last_epoch,
            "last_sequence": last_sequence,
            "fingerprint": fingerprint_to_pb(fingerprint or a_fingerprint()),
        }
        await self.say(hello=pb.Hello(**(fields | changes)))

    async def shake_hands(self, **hello: Any) -> pb.Assignments:
        """Say hello, confirm the epoch, and return the first assignments."""
        await self.hello(**hello)
        welcome = await self.next("welcome")
        self.epoch, self.last_report = welcome.epoch, welcome.last_report_number
        assignments: pb.Assignments = await self.next("assignments")
        assert assignments.kind == pb.ASSIGNMENTS_KIND_COMPLETE
        self.sequence = assignments.sequence
        await self.report()
        return assignments

    async def assigned(self) -> pb.Assignments:
        """Return the next change of the assignments."""
        assignments: pb.Assignments = await self.next("assignments")
        assert assignments.kind == pb.ASSIGNMENTS_KIND_INCREMENTAL
        assert assignments.previous_sequence == self.sequence
        self.sequence = assignments.sequence
        return assignments

    async def report(self, *seen: facts_pb2.ReplicaObservation) -> None:
        """Report, and wait for the acknowledgement."""
        self.last_report += 1
        await self.send_report(self.last_report, *seen)
        ack = await self.next("ack")
        assert ack.number == self.last_report

    async def send_report(
        self, number: int, *seen: facts_pb2.ReplicaObservation, epoch: int | None = None
    ) -> None:
        """Report under any number."""
        epoch = self.epoch if epoch is None else epoch
        await self.say(report=pb.Report(epoch=epoch, number=number, observations=seen))

    async def beat(self, cpu: float = 1, memory: float = 1) -> None:
        """Send a heartbeat with loads in percent."""
        usage = resources_pb2.Usage(cpu_percent=cpu, memory_percent=memory)
        await self.say(heartbeat=pb.Heartbeat(usage=usage, reflects_sequence=self.sequence))

    async def end(self) -> StreamEndedError:
        """Read until the gateway ends the stream, and return how it did."""
        try:
            while True:
                await self.next()
        except StreamEndedError as end:
            return end

    async def hang_up(self) -> None:
        """End this side of the stream."""
        await self._call.done_writing()


class StreamEndedError(Exception):
    """The gateway ended the stream."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


def seen(
    replica_id: str, state: ReplicaState, *, final: bool = False, restart_count: int = 0
) -> facts_pb2.ReplicaObservation:
    """Return an observation."""
    return facts_pb2.ReplicaObservation(
        replica_id=replica_id,
        state=int(state),  # type: ignore[arg-type]
        final=final,
        restart_count=restart_count,
        container_id=f"stub-container-{replica_id}",
        observed_at_us=1,
    )


@asynccontextmanager
async def scripted_agent(
    channel: grpc.aio.Channel, name: str = "node-1", token: str = AGENT_TOKEN
) -> AsyncIterator[ScriptedAgent]:
    """Open a stream while the context lasts; nothing was said yet."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    call = agent_service_pb2_grpc.AgentServiceStub(channel).Connect(metadata=metadata)
    try:
        yield ScriptedAgent(call, name)
    finally:
        call.cancel()
