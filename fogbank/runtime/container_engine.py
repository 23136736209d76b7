"""Finds a container engine on this machine: Docker, or podman's service that speaks its API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fogbank.runtime.operator_error import OperatorError

_PROBE_TIMEOUT_S = 3.0
_UNIX = "unix://"
_TCP = ("tcp://", "http://")
_DEFAULT_TCP_PORT = 2375
_PING = b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n"
_ANSWER_BYTES = 4096

RuntimeWish = Literal["auto", "container", "simulated"]


class NoEngineError(OperatorError):
    """Containers were asked for, and there is nothing that could run them."""


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """How containers are run: `engine_url` is empty for simulated ones. `why` is for people."""

    engine_url: str
    why: str

    @property
    def is_container(self) -> bool:
        """Tell whether an engine runs the containers."""
        return bool(self.engine_url)


def engine_url(address: str) -> str:
    """Return the URL for a socket's path; what is a URL already stays."""
    return address if "://" in address else f"{_UNIX}{address}"


def known_engines(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the URLs where an engine may be found, the likeliest first."""
    found = []
    if host := environment.get("DOCKER_HOST"):
        found.append(engine_url(host))
    paths = [Path("/var/run/docker.sock"), Path("/run/podman/podman.sock")]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        paths += [Path(runtime, "docker.sock"), Path(runtime, "podman", "podman.sock")]
    if home := environment.get("HOME"):
        paths.append(Path(home, ".docker", "run", "docker.sock"))
    return found + [f"{_UNIX}{path}" for path in paths]


async def answers(url: str) -> bool:
    """Tell whether an engine answers there; one that only TLS or SSH reaches isn't asked."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            reader, writer = await _connect(url)
            try:
                writer.write(_PING)
                await writer.drain()
                answer = await reader.read(_ANSWER_BYTES)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
    status = answer.split(b"\r\n", 1)[0].split(b" ")
    return len(status) > 1 and status[1] == b"200"


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if url.startswith(_UNIX):
        return await asyncio.open_unix_connection(url.removeprefix(_UNIX))
    for scheme in _TCP:
        if url.startswith(scheme):
            host, _, port = url.removeprefix(scheme).rstrip("/").partition(":")
            return await asyncio.open_connection(host, int(port or _DEFAULT_TCP_PORT))
    raise ValueError(f"{url} can't be asked")


async def choose_runtime(
    wish: RuntimeWish, address: str, memory: Path, known: Sequence[str] | None = None
) -> RuntimeChoice:
    """Decide how containers are run.

    `auto` takes an engine that answers, else the simulated runtime. Once it took an engine it
    stays with it, by a note in the file `memory`: a node whose engine is away for a moment waits
    for it and doesn't begin to pretend. A wish other than `auto` overrules the note.

    Args:
        wish: what the user asked for.
        address: the engine's socket or URL; empty to look where engines usually are.
        memory: the file to remember the choice in.
        known: where engines usually are.

    Raises:
        NoEngineError: containers are asked for, none is named and none is found.
    """
    if wish == "simulated":
        _forget(memory)
        return RuntimeChoice("", "as asked for")
    candidates = [engine_url(address)] if address else list(known or known_engines())
    if not address and (remembered := _recall(memory)):
        if wish == "auto":
            return RuntimeChoice(remembered, "as at the start before")
        candidates.insert(0, remembered)
    for url in candidates:
        if await answers(url):
            _remember(memory, url)
            return RuntimeChoice(url, f"{url} answers")
    if wish == "auto":
        return RuntimeChoice("", f"no container engine answers at {', '.join(candidates)}")
    if address:
        # Named by the user: it may come up later.
        _remember(memory, candidates[0])
        return RuntimeChoice(candidates[0], f"{candidates[0]} does not answer yet")
    raise NoEngineError(
        f"no container engine answers at {', '.join(candidates)}; start Docker or "
        "`podman system service`, or name its socket with FOG_ENGINE_SOCKET"
    )


def _recall(memory: Path) -> str:
    try:
        return memory.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _forget(memory: Path) -> None:
    memory.unlink(missing_ok=True)


def _remember(memory: Path, url: str) -> None:
    memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    memory.write_text(f"{url}\n", encoding="utf-8")
