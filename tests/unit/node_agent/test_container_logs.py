"""Logs are read no faster than they are taken, and never held whole, however much there is."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.one_container import last_lines, read_logs
from services.node_agent.app.ports import RuntimeFaultError

LINE = b"x" * 8_191 + b"\n"
LINES = 2_000
# What sockets and buffers on both sides hold.
AHEAD = 1_048_576


class TalkativeEngine:
    """Tells a log as fast as it is read, and counts what it told."""

    def __init__(self) -> None:
        self.told = 0
        self.asked: dict[str, str] = {}

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """Write everything as one stream, a frame for each line."""
        if request.match_info["id"] != "c1":
            return web.json_response({"message": "no such container"}, status=404)
        self.asked = dict(request.query)
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(LINES):
            await response.write(struct.pack(">BxxxL", 1, len(LINE)) + LINE)
            self.told += len(LINE)
        return response

    async def version(self, _request: web.Request) -> web.Response:
        """Speak a version of the API."""
        return web.json_response({"ApiVersion": "1.41"})


@pytest.fixture
async def talkative(tmp_path: Path) -> AsyncIterator[tuple[TalkativeEngine, Engine]]:
    pretended = TalkativeEngine()
    app = web.Application()
    app.router.add_get("/version", pretended.version)
    app.router.add_get("/{version}/containers/{id}/logs", pretended.logs)
    runner = web.AppRunner(app)
    await runner.setup()
    # A socket of this kind holds little, whatever the machine.
    await web.UnixSite(runner, str(tmp_path / "engine.sock")).start()
    try:
        async with Engine(f"unix://{tmp_path}/engine.sock") as engine:
            yield pretended, engine
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("follow", [False, True])
async def test_a_log_is_never_held_whole(
    talkative: tuple[TalkativeEngine, Engine], *, follow: bool
) -> None:
    pretended, engine = talkative
    taken = 0
    async for piece in read_logs(engine, "c1", 50, follow=follow):
        taken += len(piece)
        assert pretended.told - taken < AHEAD
        await asyncio.sleep(0)  # the engine may go on
    assert taken == LINES * len(LINE)
    assert (pretended.asked["tail"], pretended.asked["stdout"]) == ("50", "1")
    assert pretended.asked["follow"] == str(int(follow))


async def test_of_a_container_that_goes_no_more_is_held_than_is_kept(
    talkative: tuple[TalkativeEngine, Engine],
) -> None:
    """So few lines may be all that it ever wrote."""
    most = 10 * len(LINE) + 1
    held = await talkative[1].call(lambda docker: last_lines(docker, "c1", 50, most))
    assert held.encode() == 11 * LINE
    assert talkative[0].told == LINES * len(LINE)
    gone = await talkative[1].call(lambda docker: last_lines(docker, "c2", 50, most))
    assert gone == ""


async def test_an_engine_that_knows_no_such_container_is_believed(
    talkative: tuple[TalkativeEngine, Engine],
) -> None:
    with pytest.raises(RuntimeFaultError, match="no such container"):
        await anext(read_logs(talkative[1], "c2", 50, follow=False))
