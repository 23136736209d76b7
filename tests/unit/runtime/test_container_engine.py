"""Which runtime a node gets: an engine that answers, or one that pretends."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fogbank.runtime.container_engine import (
    NoEngineError,
    RuntimeChoice,
    answers,
    choose_runtime,
    engine_url,
    known_engines,
)


@asynccontextmanager
async def fake_engine(status: str = "200 OK") -> AsyncIterator[str]:
    """Something that answers a ping; yields its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nOK".encode())
        await writer.drain()
        writer.close()

    # Short: the path of a socket must not be longer than 107 characters.
    with tempfile.TemporaryDirectory(prefix="fog-") as folder:
        path = Path(folder, "engine.sock")
        async with await asyncio.start_unix_server(answer, path):
            yield f"unix://{path}"


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "data" / "engine"


async def test_an_engine_answers_or_does_not(tmp_path: Path) -> None:
    async with fake_engine() as url:
        assert await answers(url)
    assert not await answers(url)
    async with fake_engine("503 Service Unavailable") as url:
        assert not await answers(url)
    assert not await answers(f"unix://{tmp_path}/nothing")
    assert not await answers("ssh://somewhere")


async def test_an_engine_on_tcp_is_asked_too() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await answers(f"tcp://127.0.0.1:{port}")


def test_engines_are_looked_for_where_they_usually_are() -> None:
    environment = {
        "DOCKER_HOST": "tcp://10.0.0.1:2375",
        "XDG_RUNTIME_DIR": "/run/user/7",
        "HOME": "/people/me",
    }
    assert known_engines(environment) == [
        "tcp://10.0.0.1:2375",
        "unix:///var/run/docker.sock",
        "unix:///run/podman/podman.sock",
        "unix:///run/user/7/docker.sock",
        "unix:///run/user/7/podman/podman.sock",
        "unix:///people/me/.docker/run/docker.sock",
    ]
    assert engine_url("/a/b.sock") == "unix:///a/b.sock"


async def test_auto_takes_the_first_engine_that_answers(memory: Path) -> None:
    async with fake_engine() as url:
        choice = await choose_runtime("auto", "", memory, ["unix:///no/such.sock", url])
    assert choice == RuntimeChoice(url, f"{url} answers")


async def test_auto_pretends_where_no_engine_answers_and_says_so(memory: Path) -> None:
    choice = await choose_runtime("auto", "", memory, ["unix:///no/such.sock"])
    assert not choice.is_container
    assert choice.why == "no container engine answers at unix:///no/such.sock"
    async with fake_engine() as url:
        assert (await choose_runtime("auto", "", memory, [url])).is_container, "nothing is final"


async def test_auto_stays_with_an_engine_that_is_away_for_a_moment(memory: Path) -> None:
    async with fake_engine() as url:
        await choose_runtime("auto", "", memory, [url])
    assert (await choose_runtime("auto", "", memory, ["unix:///no/such.sock"])).engine_url == url
    assert (await choose_runtime("container", url, memory, [])).engine_url == url


async def test_simulated_is_taken_at_its_word(memory: Path) -> None:
    async with fake_engine() as url:
        await choose_runtime("auto", "", memory, [url])
        assert not (await choose_runtime("simulated", "", memory, [url])).is_container
    assert not (await choose_runtime("auto", "", memory, ["unix:///no/such.sock"])).is_container


async def test_containers_need_an_engine_or_its_name(memory: Path) -> None:
    with pytest.raises(NoEngineError, match="FOG_ENGINE_SOCKET"):
        await choose_runtime("container", "", memory, ["unix:///no/such.sock"])
    named = await choose_runtime("container", "/no/such.sock", memory)
    assert named == RuntimeChoice(
        "unix:///no/such.sock", "unix:///no/such.sock does not answer yet"
    )
