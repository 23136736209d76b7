"""A gateway as node agents see it: a real gRPC server with `AgentService`, and no log behind it.

It keeps the rules of the stream: epochs grow, a report counts only as last + 1 in its epoch. What
the test wants of a node it sets with `assign`, `stop` and `forget`; nodes that are connected are
told at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Self

import grpc
import grpc.aio

from fogbank.domain.states import ReplicaState
from fogbank.v1 import agent_service_pb2 as pb
from fogbank.v1 import agent_service_pb2_grpc, facts_pb2
from fogbank.v1.deployments_pb2 import RestartPolicy
from fogbank.v1.resources_pb2 import Resources


@dataclass
class FakeNode:
    """What the fake log has of a node."""

    node_id: str
    name: str
    epoch: int = 0
    confirmed_epoch: int = 0
    last_report: int = 0
    hellos: list[pb.Hello] = field(default_factory=list)
    heartbeats: list[pb.Heartbeat] = field(default_factory=list)
    capacity_changes: list[pb.CapacityChange] = field(default_factory=list)
    accepted: list[pb.Report] = field(default_factory=list)
    refused: list[pb.Report] = field(default_factory=list)
    desired: dict[str, pb.Assignment] = field(default_factory=dict)
    sequence: int = 0
    responses: asyncio.Queue[pb.ConnectResponse | None] | None = None

    @property
    def connected(self) -> bool:
        """Whether a stream is open and its epoch confirmed."""
        return self.responses is not None and self.confirmed_epoch == self.epoch

    @property
    def observations(self) -> list[facts_pb2.ReplicaObservation]:
        """Everything it reported, in order."""
        return [seen for report in self.accepted for seen in report.observations]

    def seen(self, replica_id: str) -> list[tuple[int, str]]:
        """All that it reported of a replica: restart count and state."""
        return [
            (seen.restart_count, ReplicaState(seen.state).name)
            for seen in self.observations
            if seen.replica_id == replica_id
        ]

    def last(self, replica_id: str) -> facts_pb2.ReplicaObservation | None:
        """The last that it reported of a replica."""
        seen = [each for each in self.observations if each.replica_id == replica_id]
        return seen[-1] if seen else None

    def is_in(self, replica_id: str, state: ReplicaState) -> bool:
        """Whether the last that it reported of a replica is this state."""
        last = self.last(replica_id)
        return last is not None and last.state == int(state)


class FakeGateway(agent_service_pb2_grpc.AgentServiceServicer):
    """Use as an async context manager; `address` is where it listens.

    Several gateways share what they know if they share `nodes`, as real ones share the log.
    """

    def __init__(
        self,
        *,
        token: str = "",
        heartbeat_period_ms: int = 5_000,
        nodes: dict[str, FakeNode] | None = None,
        port: int = 0,
    ) -> None:
        self.token = token
        self.heartbeat_period_ms = heartbeat_period_ms
        self.nodes: dict[str, FakeNode] = {} if nodes is None else nodes
        self.acknowledges = True
        self.streams = 0
        self.refuses_with: grpc.StatusCode | None = None
        self._port = port
        self._server = self._make_server()
        self._open: set[asyncio.Queue[pb.ConnectResponse | None]] = set()

    def _make_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
            ]
        )
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, server)
        return server

    async def __aenter__(self) -> Self:
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def node(self, name: str) -> FakeNode:
        """The node of that name; KeyError if it never called."""
        return {node.name: node for node in self.nodes.values()}[name]

    def connected(self, name: str) -> bool:
        """Whether the node of that name has a stream here and confirmed its epoch."""
        try:
            return self.node(name).connected
        except KeyError:
            return False

    # --- what the test wants of a node --------------------------------------------------------

    def assign(
        self,
        node: FakeNode,
        replica_id: str,
        image: str = "nginx",
        restart: RestartPolicy.ValueType = RestartPolicy.RESTART_POLICY_ALWAYS,
        starts_after: tuple[str, ...] = (),
    ) -> None:
        """Have the node run a replica."""
        self._want(
            node,
            pb.Assignment(
                replica_id=replica_id,
                deployment_id="d-1",
                deployment_name="web",
                desired=pb.DESIRED_STATE_RUN,
                container_image=image,
                resources=Resources(cpu_millicores=1000, memory_mib=1024, storage_gib=10),
                restart=restart,
                starts_after=starts_after,
            ),
        )

    def stop(self, node: FakeNode, replica_id: str) -> None:
        """Have the node stop a replica."""
        self._want(node, pb.Assignment(replica_id=replica_id, desired=pb.DESIRED_STATE_STOP))

    def forget(self, node: FakeNode, replica_id: str) -> None:
        """Tell the node that a replica's end is known."""
        self._want(node, pb.Assignment(replica_id=replica_id, desired=pb.DESIRED_STATE_FORGET))
        node.desired.pop(replica_id, None)

    def _want(self, node: FakeNode, assignment: pb.Assignment) -> None:
        previous, node.sequence = node.sequence, node.sequence + 1
        node.desired[assignment.replica_id] = assignment
        message = pb.Assignments(
            kind=pb.ASSIGNMENTS_KIND_INCREMENTAL,
            sequence=node.sequence,
            previous_sequence=previous,
            assignments=[assignment],
        )
        self.say(node, pb.ConnectResponse(assignments=message))

    def say(self, node: FakeNode, response: pb.ConnectResponse) -> None:
        """Send the node a message, if it is connected."""
        if node.responses is not None:
            node.responses.put_nowait(response)

    def drain(self) -> None:
        """Send all nodes elsewhere."""
        for responses in self._open:
            responses.put_nowait(pb.ConnectResponse(drain=pb.Drain(reason="test")))

    def hang_up(self) -> None:
        """End all streams."""
        for responses in self._open:
            responses.put_nowait(None)

    # --- AgentService -------------------------------------------------------------------------

    async def Serve(
        self,
        request_iterator: AsyncIterator[pb.ServeRequest],
        context: grpc.aio.ServicerContext[pb.ServeRequest, pb.ServeResponse],
    ) -> pb.ServeResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nobody sends agents on errands here")

    async def Join(
        self,
        request: pb.JoinRequest,
        context: grpc.aio.ServicerContext[pb.JoinRequest, pb.JoinResponse],
    ) -> pb.JoinResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "nobody joins in tests yet")

    async def Connect(
        self,
        request_iterator: AsyncIterator[pb.ConnectRequest],
        context: grpc.aio.ServicerContext[pb.ConnectRequest, pb.ConnectResponse],
    ) -> AsyncIterator[pb.ConnectResponse]:
        if self.refuses_with is not None:
            await context.abort(self.refuses_with, "told to refuse")
        metadata = dict(context.invocation_metadata() or ())
        if self.token and metadata.get("authorization") != f"Bearer {self.token}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such agent")
        self.streams += 1
        responses: asyncio.Queue[pb.ConnectResponse | None] = asyncio.Queue()
        self._open.add(responses)
        reader = asyncio.create_task(self._read(request_iterator, responses))
        try:
            while (response := await responses.get()) is not None:
                yield response
        finally:
            self._open.discard(responses)
            for node in self.nodes.values():
                if node.responses is responses:
                    node.responses = None
            reader.cancel()

    async def _read(
        self,
        requests: AsyncIterator[pb.ConnectRequest],
        responses: asyncio.Queue[pb.ConnectResponse | None],
    ) -> None:
        node: FakeNode | None = None
        async for request in requests:
            kind = request.WhichOneof("message")
            if kind == "hello":
                node = self._greet(request.hello, responses)
            elif node is None:
                break
            elif kind == "heartbeat":
                node.heartbeats.append(request.heartbeat)
            elif kind == "capacity_change":
                node.capacity_changes.append(request.capacity_change)
            elif kind == "report":
                self._take(node, request.report, responses)
        responses.put_nowait(None)

    def _greet(
        self, hello: pb.Hello, responses: asyncio.Queue[pb.ConnectResponse | None]
    ) -> FakeNode:
        node = self.nodes.setdefault(hello.node_id, FakeNode(hello.node_id, hello.name))
        node.hellos.append(hello)
        node.epoch += 1
        node.responses = responses
        welcome = pb.Welcome(
            heartbeat_period_ms=self.heartbeat_period_ms,
            epoch=node.epoch,
            last_report_number=node.last_report,
        )
        responses.put_nowait(pb.ConnectResponse(welcome=welcome))
        node.sequence = max(node.sequence, hello.last_sequence)
        complete = pb.Assignments(
            kind=pb.ASSIGNMENTS_KIND_COMPLETE,
            sequence=node.sequence,
            assignments=list(node.desired.values()),
        )
        responses.put_nowait(pb.ConnectResponse(assignments=complete))
        return node

    def _take(
        self,
        node: FakeNode,
        report: pb.Report,
        responses: asyncio.Queue[pb.ConnectResponse | None],
    ) -> None:
        if report.epoch == node.epoch and report.number == node.last_report + 1:
            node.last_report = report.number
            node.confirmed_epoch = node.epoch
            node.accepted.append(report)
        else:
            node.refused.append(report)
        if self.acknowledges:
            responses.put_nowait(pb.ConnectResponse(ack=pb.Ack(number=node.last_report)))
