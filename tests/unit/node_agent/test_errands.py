"""Errands begin when somebody waits for them, and end when nobody wants more of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from fogbank.codec.errands import TAKEN
from fogbank.domain.errands import Brought, Errand, ExecErrand, LogsErrand
from fogbank.v1 import agent_service_pb2 as pb
from fogbank.v1 import agent_service_pb2_grpc
from services.node_agent.adapters.gateway_stream import GrpcGateways
from services.node_agent.app.errands import Errands
from services.node_agent.app.ports import ContainerRuntime, Gateways
from tests.support.waiting import eventually


class _Runtime:
    """A container that wrote one line and is silent from then on, or one that breaks."""

    def __init__(self, error: Exception | None = None, *, commands_end: bool = True) -> None:
        self._error = error
        self._commands_end = commands_end
        self.open = 0
        self.commands_run = 0

    async def execute(self, replica_id: str, command: Sequence[str]) -> AsyncIterator[Brought]:
        self.commands_run += 1
        if not self._commands_end:
            await asyncio.Event().wait()
        yield Brought(exit_code=0)

    async def logs(
        self, replica_id: str, tail: int, *, follow: bool, previous: bool
    ) -> AsyncIterator[str]:
        self.open += 1
        try:
            yield "hello"
            if self._error is not None:
                raise self._error
            await asyncio.Event().wait()
        finally:
            self.open -= 1


Context = grpc.aio.ServicerContext[pb.ServeRequest, pb.ServeResponse]


class _Gateway(agent_service_pb2_grpc.AgentServiceServicer):
    """Takes an errand's first pieces, and goes when it has so many."""

    def __init__(self, wants: int, ends_with: grpc.StatusCode | None = None) -> None:
        self._wants = wants
        self._ends_with = ends_with
        self.taken: list[pb.ServeRequest] = []

    async def Serve(
        self, request_iterator: AsyncIterator[pb.ServeRequest], context: Context
    ) -> pb.ServeResponse:
        async for request in request_iterator:
            self.taken.append(request)
            if len(self.taken) == 1:
                await context.send_initial_metadata((TAKEN,))
            if len(self.taken) == self._wants:
                break
        if self._ends_with is not None:
            await context.abort(self._ends_with, "no more")
        return pb.ServeResponse()


class _Gateways:
    """One gateway that keeps every errand for as long as the runtime has something to bring.

    While it is `deaf` it never gets beyond the first piece of one.
    """

    count = 1

    def __init__(self, *, deaf: bool = False) -> None:
        self.deaf = deaf
        self.deafened = 0
        self.brought: dict[str, list[Brought]] = {}

    async def serve(self, number: int, errand_id: str, brought: AsyncIterator[Brought]) -> None:
        async for piece in brought:
            self.brought.setdefault(errand_id, []).append(piece)
            if self.deaf:
                self.deafened += 1
                await asyncio.Event().wait()


class _Elsewhere(agent_service_pb2_grpc.AgentServiceServicer):
    """Waits for no errand, and takes its time to say so."""

    def __init__(self) -> None:
        self.asked = 0

    async def Serve(
        self, request_iterator: AsyncIterator[pb.ServeRequest], context: Context
    ) -> pb.ServeResponse:
        self.asked += 1
        await anext(request_iterator)
        for _ in range(1_000):
            await asyncio.sleep(0)
        await context.abort(grpc.StatusCode.NOT_FOUND, "nobody waits for that here")


def _errand_runs() -> bool:
    return any(each.get_name() == "errand:e-1" for each in asyncio.all_tasks())


async def run_errand(
    runtime: _Runtime,
    kind: LogsErrand | ExecErrand,
    *gateways: agent_service_pb2_grpc.AgentServiceServicer,
) -> None:
    """Run an errand of the first of some gateways until it is over."""
    port: ContainerRuntime = runtime  # type: ignore[assignment]
    async with AsyncExitStack() as stack:
        addresses = []
        for gateway in gateways:
            server = grpc.aio.server()
            agent_service_pb2_grpc.add_AgentServiceServicer_to_server(gateway, server)
            addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            await server.start()
            stack.push_async_callback(server.stop, None)
        errands = Errands(
            port, await stack.enter_async_context(GrpcGateways(addresses)), lambda _: None
        )
        errands.begin(Errand("e-1", "a", kind), 0)
        await eventually(lambda: not _errand_runs(), what="the errand's end")


@asynccontextmanager
async def errands_of(runtime: ContainerRuntime, gateways: Gateways) -> AsyncIterator[Errands]:
    """The errands of a node on which replicas are called DEPLOYMENT/NUMBER."""
    errands = Errands(runtime, gateways, lambda replica_id: replica_id.partition("/")[0])
    try:
        yield errands
    finally:
        await errands.close()


FOLLOW = LogsErrand(10, follow=True)
DISPLACED = "followed no longer: the node needs the place for another deployment; try again later"
COMMAND = ExecErrand(("reboot",))


@pytest.mark.parametrize("wants", [1, 2])
async def test_a_log_is_let_go_when_nobody_follows_it_any_more(wants: int) -> None:
    runtime, gateway = _Runtime(), _Gateway(wants)  # type: ignore[abstract]
    await run_errand(runtime, FOLLOW, gateway)
    assert [each.output for each in gateway.taken] == [b"", b"hello"][:wants]
    await eventually(lambda: runtime.open == 0, 10, "the end of the log's stream")


async def test_who_asked_is_told_of_a_runtime_that_breaks() -> None:
    gateway = _Gateway(3)  # type: ignore[abstract]
    await run_errand(_Runtime(TypeError("nobody thought of it")), FOLLOW, gateway)
    assert "TypeError('nobody thought of it')" in gateway.taken[-1].failure


async def test_a_command_that_nobody_waits_for_is_not_run() -> None:
    runtime, gateways = _Runtime(), [_Elsewhere() for _ in range(3)]  # type: ignore[abstract]
    await run_errand(runtime, COMMAND, *gateways)
    assert [each.asked for each in gateways] == [1, 1, 1]
    assert runtime.commands_run == 0


async def test_a_command_runs_once_where_somebody_waits_for_it() -> None:
    runtime, elsewhere, gateway = _Runtime(), _Elsewhere(), _Gateway(2)  # type: ignore[abstract]
    await run_errand(runtime, COMMAND, elsewhere, gateway)
    assert [each.WhichOneof("message") for each in gateway.taken] == ["errand_id", "exit_code"]
    assert runtime.commands_run == 1


async def test_a_command_that_was_begun_is_not_begun_at_another_gateway() -> None:
    runtime, other = _Runtime(), _Gateway(2)  # type: ignore[abstract]
    first = _Gateway(2, grpc.StatusCode.NOT_FOUND)  # type: ignore[abstract]
    await run_errand(runtime, COMMAND, first, other)
    assert (len(first.taken), len(other.taken), runtime.commands_run) == (2, 0, 1)


async def test_no_deployment_gets_all_errands_of_a_node() -> None:
    runtime: Any = _Runtime()
    gateways: Any = _Gateways()
    async with errands_of(runtime, gateways) as errands:
        for number in range(40):
            errands.begin(Errand(f"greedy-{number}", f"greedy/{number % 3}", FOLLOW), 0)
        for number in range(8):
            errands.begin(Errand(f"other-{number}", "other/0", FOLLOW), 0)
        await eventually(lambda: runtime.open == 16 and len(gateways.brought) == 48)
        others = [gateways.brought[f"other-{number}"] for number in range(8)]
        assert others == [[Brought(b"hello")]] * 8
        assert gateways.brought["greedy-8"] == [
            Brought(failure="the node runs 8 errands of this deployment already; try again later")
        ]


async def test_quiet_followers_make_room_for_a_deployment_with_fewer() -> None:
    runtime: Any = _Runtime()
    gateways: Any = _Gateways()
    brought = gateways.brought
    async with errands_of(runtime, gateways) as errands:
        for name, count in (("most", 8), ("many", 7), ("one", 1)):
            for number in range(count):
                errands.begin(Errand(f"{name}-{number}", f"{name}/0", FOLLOW), 0)
        await eventually(lambda: runtime.open == 16 and len(brought) == 16)
        for number in range(2):
            errands.begin(Errand(f"third-{number}", "third/0", FOLLOW), 0)
        await eventually(lambda: "third-1" in brought and runtime.open == 16)
        assert brought["third-0"] == brought["third-1"] == [Brought(b"hello")]
        told = [Brought(b"hello"), Brought(failure=DISPLACED)]
        # Now both have seven, and the newest goes.
        assert {each for each, pieces in brought.items() if pieces == told} == {"most-7", "many-6"}
        errands.begin(Errand("command", "fourth/0", COMMAND), 0)
        await eventually(lambda: brought.get("command") == [Brought(exit_code=0)])


async def test_nobody_is_displaced_by_who_has_about_as_many() -> None:
    runtime: Any = _Runtime()
    gateways: Any = _Gateways()
    async with errands_of(runtime, gateways) as errands:
        for number in range(16):
            errands.begin(Errand(f"e-{number}", f"d{number % 8}/0", FOLLOW), 0)
        await eventually(lambda: runtime.open == 16)
        errands.begin(Errand("late", "d0/1", FOLLOW), 0)
        await eventually(lambda: gateways.brought.get("late"))
        assert "16 errands already" in gateways.brought["late"][0].failure
        assert runtime.open == 16


async def test_a_follower_whose_user_does_not_read_is_cut_off() -> None:
    """It has no word to be told, and would keep its place for as long as it likes."""
    runtime: Any = _Runtime()
    gateways: Any = _Gateways(deaf=True)
    async with errands_of(runtime, gateways) as errands:
        for number in range(16):
            errands.begin(Errand(f"e-{number}", f"d{number % 2}/0", FOLLOW), 0)
        await eventually(lambda: gateways.deafened == 16)
        gateways.deaf = False
        errands.begin(Errand("late", "late/0", FOLLOW), 0)
        await eventually(lambda: gateways.brought.get("late") == [Brought(b"hello")])
        await eventually(lambda: runtime.open == 16)


async def test_commands_are_not_displaced() -> None:
    runtime: Any = _Runtime(commands_end=False)
    gateways: Any = _Gateways()
    async with errands_of(runtime, gateways) as errands:
        for number in range(16):
            errands.begin(Errand(f"e-{number}", f"d{number % 2}/0", COMMAND), 0)
        await eventually(lambda: runtime.commands_run == 16)
        errands.begin(Errand("late", "late/0", COMMAND), 0)
        await eventually(lambda: gateways.brought.get("late"))
        assert "16 errands already" in gateways.brought["late"][0].failure
