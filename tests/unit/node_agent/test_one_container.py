"""Signals to containers that are about to end, over an engine that says so late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiodocker import Docker, DockerError
from aiohttp import web

from services.node_agent.adapters import one_container
from services.node_agent.adapters.one_container import kill

# What podman says of a container between its last process's end and its own clearing up.
REFUSAL = "container state improper: stopped"


class LateEngine:
    """Refuses signals and shows its container as running; says that it ended, or never does."""

    def __init__(self) -> None:
        self.ends = True
        self.waited = 0

    async def kill(self, _request: web.Request) -> web.Response:
        """Refuse."""
        return web.json_response({"message": REFUSAL}, status=500)

    async def show(self, _request: web.Request) -> web.Response:
        """Show it as running."""
        state: dict[str, Any] = {
            "Status": "running",
            "Running": True,
            "ExitCode": 0,
            "StartedAt": "2031-04-05T06:07:08Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        }
        config = {"Labels": {}, "Image": "nginx", "StopSignal": "SIGTERM"}
        return web.json_response({"Id": "c1", "State": state, "Config": config})

    async def wait(self, _request: web.Request) -> web.Response:
        """Say that it ended."""
        self.waited += 1
        if not self.ends:
            await asyncio.Event().wait()
        return web.json_response({"StatusCode": 0})


@pytest.fixture
async def engine() -> AsyncIterator[tuple[LateEngine, Docker]]:
    late = LateEngine()
    app = web.Application()
    app.router.add_post("/{version}/containers/{id}/kill", late.kill)
    app.router.add_get("/{version}/containers/{id}/json", late.show)
    app.router.add_post("/{version}/containers/{id}/wait", late.wait)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    docker = Docker(url=f"tcp://127.0.0.1:{port}", api_version="v1.41")
    try:
        yield late, docker
    finally:
        await docker.close()
        await runner.cleanup()


async def test_one_that_just_ended_needs_no_signal(engine: tuple[LateEngine, Docker]) -> None:
    late, docker = engine
    await kill(docker, "c1", "SIGKILL")
    assert late.waited == 1


async def test_one_that_runs_on_is_told(
    engine: tuple[LateEngine, Docker], monkeypatch: pytest.MonkeyPatch
) -> None:
    late, docker = engine
    late.ends = False
    monkeypatch.setattr(one_container, "_ENDING_S", 0.01)
    with pytest.raises(DockerError):
        await kill(docker, "c1", "SIGKILL")
