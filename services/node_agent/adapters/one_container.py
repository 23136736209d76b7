"""What is done with one container of an engine, whoever's it is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import structlog
from aiodocker import Docker, DockerError
from aiodocker.containers import DockerContainer
from aiodocker.execs import Exec
from aiodocker.multiplexed import multiplexed_result_stream

from fogbank.domain.containers import HealthProbe, ProbeKind
from fogbank.domain.errands import Brought
from services.node_agent.adapters.container_config import Shown, read_container
from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.probes import network_probe
from services.node_agent.app.ports import ImageMissingError, ProbeTry, RuntimeFaultError

_log = structlog.get_logger(__name__)

# A container that is killed ends within this, or something is wrong with the machine.
_KILL_PATIENCE_S = 30.0
# One whose processes are gone is shown as ended within this.
_ENDING_S = 5.0
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5)
# What an exec probe prints is of use up to here.
_PROBE_OUTPUT = 200
_STDERR = 2
# Characters or bytes that go in one message.
_PIECE = 16 * 1024
_LOOK_AGAIN_S = 0.5


def raise_unless_missing(error: DockerError) -> None:
    """Raise the error again unless it says that something is not there."""
    if error.status != 404:  # noqa: PLR2004 (HTTP's number for what is not there)
        raise error


async def show(docker: Docker, name: str) -> Shown | None:
    """Return a container, by its name or id; None if there is none."""
    try:
        return read_container(await docker.containers.container(name).show())
    except DockerError as error:
        raise_unless_missing(error)
        return None


async def create_started(docker: Docker, name: str, config: Mapping[str, Any]) -> Shown:
    """Make a container and start it; one that can't be started is gone again.

    Raises:
        ImageMissingError: its image is not there.
    """
    try:
        container = await docker.containers.create(dict(config), name=name)
    except DockerError as error:
        raise_unless_missing(error)
        raise ImageMissingError(f"image not found: {error.message}") from error
    try:
        await container.start()
    except DockerError:
        leftover = await show(docker, container.id)
        if leftover is not None:
            await delete(docker, leftover)
        raise
    return read_container(await container.show())


async def kill(docker: Docker, container_id: str, signal: str) -> None:
    """Send a signal; fine if the container has ended."""
    container = docker.containers.container(container_id)
    try:
        await container.kill(signal=signal)
    except DockerError:
        # It may have ended by itself meanwhile; then there is nothing left to do. For a moment
        # podman shows such a one as running, and refuses it as "state improper: stopped".
        shown = await show(docker, container_id)
        if shown is not None and shown.running and not await _ends_within(container, _ENDING_S):
            raise


async def _ends_within(container: DockerContainer, patience_s: float) -> bool:
    try:
        async with asyncio.timeout(patience_s):
            await container.wait(timeout=NO_TIMEOUT)
    except TimeoutError:
        return False
    except DockerError as error:
        raise_unless_missing(error)
    return True


async def wait_killed(docker: Docker, container_id: str) -> None:
    """Wait until a container that was killed has ended.

    Raises:
        RuntimeFaultError: it still runs after a long time.
    """
    if not await _ends_within(docker.containers.container(container_id), _KILL_PATIENCE_S):
        raise RuntimeFaultError(
            f"the container still runs {_KILL_PATIENCE_S:g} s after it was killed"
        )


async def delete(docker: Docker, shown: Shown) -> None:
    """Remove a container with its logs and nameless volumes; by force, and at once, if it runs."""
    if shown.running:
        await kill(docker, shown.id, "SIGKILL")
    try:
        await docker.containers.container(shown.id).delete(force=True, v=True)
    except DockerError as error:
        if await show(docker, shown.id) is not None:
            raise
        _log.debug("container was removed meanwhile", container=shown.id, why=error.message)


@asynccontextmanager
async def probing(engine: Engine, shown: Shown, probe: HealthProbe) -> AsyncIterator[ProbeTry]:
    """Get ready to probe a running container.

    Raises:
        RuntimeFaultError: the host does not reach it.
    """
    if probe.kind is ProbeKind.EXEC:
        command = _ProbeCommand(shown.id, probe.command)
        yield lambda: engine.call(command.run)
        return
    host, port = shown.address, probe.port
    if not host:
        # Engines without rights of root have networks that only published ports lead into.
        published = [each for each in shown.ports if each.number == probe.port]
        if not published:
            raise RuntimeFaultError(
                f"the host does not reach port {probe.port}: publish it, or probe by a command"
            )
        host, port = "127.0.0.1", published[0].host_port
    async with network_probe(host, port, probe) as attempt:
        yield attempt


class _ProbeCommand:
    """A command that probes a container from within, never run twice at a time.

    An engine ends no command because nobody waits for it any more. Tries of one that hangs would
    pile up until the container may have no more processes.
    """

    def __init__(self, container_id: str, command: tuple[str, ...]) -> None:
        self._container_id = container_id
        self._command = command
        self._unended: Exec | None = None

    async def run(self, docker: Docker) -> str:
        """Run it, and say why it failed."""
        if self._unended is not None and await _runs(self._unended):
            return "the command of an earlier try still runs"
        run = await _made(docker, self._container_id, self._command)
        self._unended = run
        said, exit_code = b"", 0
        async for piece in _output(run):
            said = (said + piece.data)[:_PROBE_OUTPUT]
            exit_code = piece.exit_code or 0
        self._unended = None
        if exit_code == 0:
            return ""
        text = " ".join(said.decode(errors="replace").split())
        return f"exit code {exit_code}: {text}" if text else f"exit code {exit_code}"


async def _runs(run: Exec) -> bool:
    """Tell whether a command runs; engines forget one some time after its end."""
    try:
        return bool((await run.inspect())["Running"])
    except DockerError as error:
        raise_unless_missing(error)
        return False


async def execute(
    engine: Engine, container_id: str, command: Sequence[str]
) -> AsyncIterator[Brought]:
    """Run a command within a container; yield what it writes, then its exit code.

    Raises:
        RuntimeFaultError: it can't be run.
    """

    async def output(docker: Docker) -> AsyncIterator[Brought]:
        async for piece in _output(await _made(docker, container_id, command)):
            yield piece

    async for piece in engine.stream(output):
        yield piece


async def _made(docker: Docker, container_id: str, command: Sequence[str]) -> Exec:
    """Return a command in a container, which is still to be started."""
    return await docker.containers.container(container_id).exec(list(command))


async def _output(run: Exec) -> AsyncIterator[Brought]:
    """Start a command; yield what it writes, then its exit code."""
    async with run.start(detach=False) as stream:
        while (message := await stream.read_out()) is not None:
            for start in range(0, len(message.data), _PIECE):
                data = message.data[start : start + _PIECE]
                yield Brought(data, is_error=message.stream == _STDERR)
    # Engines say how it ended a moment after its output did.
    end = await run.inspect()
    while end["Running"] or end["ExitCode"] is None:
        await asyncio.sleep(_LOOK_AGAIN_S)
        end = await run.inspect()
    yield Brought(exit_code=int(end["ExitCode"]))


async def last_lines(docker: Docker, container_id: str, lines: int, most: int) -> str:
    """Return the last lines that a container wrote; none if its log can't be read any more.

    Of what is before the last `most` characters little is held: lines may be as long as the log.
    """
    pieces: deque[str] = deque()
    size = 0
    try:
        async for text in _written(docker, container_id, follow=False, tail=lines):
            pieces.append(text)
            size += len(text)
            while size - len(pieces[0]) >= most:
                size -= len(pieces.popleft())
    except DockerError as error:
        _log.debug("log not read", container=container_id, why=error.message)
        return ""
    return "".join(pieces)


async def read_logs(
    engine: Engine, container_id: str, tail: int, *, follow: bool
) -> AsyncIterator[str]:
    """Yield what a container wrote, and with `follow` what it writes until it ends.

    It is read as fast as it is taken.

    Raises:
        RuntimeFaultError: the engine gives no answer.
    """
    async for text in engine.stream(
        lambda docker: _written(docker, container_id, follow=follow, tail=tail)
    ):
        for start in range(0, len(text), _PIECE):
            yield text[start : start + _PIECE]


async def _written(
    docker: Docker, container_id: str, *, follow: bool, tail: int
) -> AsyncIterator[str]:
    wanted = {"stdout": True, "stderr": True, "follow": follow, "tail": tail}
    # Asked for by `container.log`, a log that isn't followed would be held whole.
    path = f"containers/{container_id}/logs"
    query = docker._query(path, params=wanted, timeout=NO_TIMEOUT)  # noqa: SLF001
    async with query as response, response:
        # Containers of agents have no terminal: what they write comes in frames.
        async for text in multiplexed_result_stream(response):  # type: ignore[no-untyped-call]
            yield text
