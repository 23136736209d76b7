"""A service from start to end: order, signals, dead loops."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fogbank.domain.errors import UnavailableError
from fogbank.runtime.lifecycle import Service, notify_supervisor, serve
from tests.support.waiting import eventually


@asynccontextmanager
async def resource(name: str, story: list[str]) -> AsyncIterator[str]:
    story.append(f"open {name}")
    try:
        yield name
    finally:
        story.append(f"close {name}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_in_order(number: signal.Signals) -> None:
    story: list[str] = []

    async def loop() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            story.append("loop cancelled")

    async def setup(service: Service) -> None:
        assert await service.enter(resource("pool", story)) == "pool"
        await service.enter(resource("broker", story))
        service.start_loop("loop", loop)

        async def stop_accepting() -> None:
            story.append("stop accepting")

        async def finish() -> None:
            story.append("finish")

        service.on_stop("finish", finish)
        service.on_stop("server", stop_accepting)
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)

    assert await serve(setup) == 0
    assert story == [
        "open pool",
        "open broker",
        "stop accepting",
        "finish",
        "loop cancelled",
        "close broker",
        "close pool",
    ]


async def test_a_dead_loop_ends_the_service_with_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    story: list[str] = []

    async def loop() -> None:
        raise ValueError("broken")

    async def setup(service: Service) -> None:
        await service.enter(resource("pool", story))
        service.start_loop("folding", loop)

    assert await serve(setup) == 1
    assert story == ["open pool", "close pool"]
    said = capsys.readouterr().out
    assert "loop died" in said
    assert "folding" in said
    assert "ValueError: broken" in said


async def test_a_loop_that_returns_is_dead_too() -> None:
    async def loop() -> None:
        return

    async def setup(service: Service) -> None:
        service.start_loop("short", loop)

    assert await serve(setup) == 1


async def test_loops_run_while_the_service_is_being_built() -> None:
    async def setup(service: Service) -> None:
        caught_up = asyncio.Event()

        async def loop() -> None:
            caught_up.set()
            await asyncio.Event().wait()

        service.start_loop("folding", loop)
        await caught_up.wait()
        service.request_stop()

    assert await serve(setup) == 0


async def test_a_failing_start_closes_what_was_open() -> None:
    story: list[str] = []

    async def setup(service: Service) -> None:
        await service.enter(resource("pool", story))
        raise UnavailableError("the broker is not there")

    assert await serve(setup) == 1
    assert story == ["open pool", "close pool"]


async def test_a_stop_while_building_ends_the_building() -> None:
    async def setup(service: Service) -> None:
        asyncio.get_running_loop().call_soon(service.request_stop)
        await asyncio.Event().wait()

    assert await serve(setup) == 0


async def test_a_timeout_while_building_is_a_failure() -> None:
    async def setup(service: Service) -> None:
        raise TimeoutError("too slow")

    assert await serve(setup) == 1


async def test_a_failing_stop_step_keeps_no_other_from_running() -> None:
    story: list[str] = []

    async def setup(service: Service) -> None:
        async def good() -> None:
            story.append("good")

        async def bad() -> None:
            raise ValueError("bad")

        service.on_stop("good", good)
        service.on_stop("bad", bad)
        service.request_stop()

    assert await serve(setup) == 0
    assert story == ["good"]


def test_the_supervisor_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        notify_supervisor("READY=1")
        assert channel.recv(64) == b"READY=1"


async def test_a_supervisor_sees_that_the_loop_turns_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(path)
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        monkeypatch.setenv("WATCHDOG_USEC", "3000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        said: list[bytes] = []
        running: list[Service] = []

        async def setup(service: Service) -> None:
            running.append(service)

        def hear() -> bool:
            with suppress(BlockingIOError):
                said.append(channel.recv(64))
            return said.count(b"WATCHDOG=1") > 1

        serving = asyncio.create_task(serve(setup))
        await eventually(hear, what="two signs of life")
        running[0].request_stop()
        assert await serving == 0
    assert said[0] == b"READY=1"


async def test_a_loop_that_forgot_that_it_was_cancelled_is_told_again() -> None:
    """Some libraries swallow a cancellation that comes at the wrong moment."""
    forgotten = 0

    async def loop() -> None:
        nonlocal forgotten
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if forgotten == 1:
                    raise
                forgotten += 1

    async def setup(service: Service) -> None:
        service.start_loop("forgetful", loop)
        asyncio.get_running_loop().call_soon(service.request_stop)

    assert await serve(setup) == 0
    assert forgotten == 1
