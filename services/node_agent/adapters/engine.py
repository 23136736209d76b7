"""A container engine's API (Docker's, which podman speaks too), with its failures told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import structlog
from aiodocker import Docker, DockerError

from services.node_agent.app.ports import RuntimeFaultError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# For one answer; what waits for a container or for an image is not bound by it.
_ANSWER_S = 60.0
_CONNECT_S = 5.0
# What aiodocker says instead of a status when it can't connect.
_NO_CONNECTION = 900


class EngineAwayError(RuntimeFaultError):
    """The engine gives no answer: it may or may not have done what it was asked."""


class EngineRefusedError(RuntimeFaultError):
    """The engine answered that it can't. `status` is that of HTTP, 0 for one within a stream."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Engine:
    """One connection pool to an engine. Use it as an async context manager."""

    def __init__(self, url: str, *, first_pause_s: float = 0.1, longest_pause_s: float = 5) -> None:
        """Know the engine's URL; the pauses are those between tries while it is away."""
        self.url = url
        self._first_pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s
        self._docker: Docker | None = None
        self._is_away = False

    async def __aenter__(self) -> Self:
        """Nothing is dialled before the first call."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S, sock_connect=_CONNECT_S)
        self._docker = Docker(url=self.url, timeout=timeout)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        if self._docker is not None:
            await self._docker.close()
            self._docker = None

    async def call(self, operation: Callable[[Docker], Awaitable[T]]) -> T:
        """Do something with the engine.

        Raises:
            EngineAwayError: no answer came.
            EngineRefusedError: the engine's answer is no.
        """
        with self._answering() as docker:
            return await operation(docker)

    async def stream(self, operation: Callable[[Docker], AsyncIterator[T]]) -> AsyncIterator[T]:
        """Read what the engine has to tell.

        Raises: as `call`.
        """
        with self._answering() as docker:
            async for item in operation(docker):
                yield item

    @contextmanager
    def _answering(self) -> Iterator[Docker]:
        """Tell failures apart.

        Raises: as `call`.
        """
        if self._docker is None:
            raise EngineAwayError(f"the connection to {self.url} is closed")
        try:
            yield self._docker
        except DockerError as error:
            if error.status in {_NO_CONNECTION, HTTPStatus.SERVICE_UNAVAILABLE}:
                raise EngineAwayError(error.message) from error
            raise EngineRefusedError(error.message, error.status) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            raise EngineAwayError(f"engine at {self.url}: {why}") from error
        except ValueError as error:
            raise EngineRefusedError(f"an answer that makes no sense: {error}", 0) from error
        if self._is_away:
            self._is_away = False
            _log.info("engine answers again", engine=self.url)

    async def insist(self, operation: Callable[[Docker], Awaitable[T]]) -> T:
        """Do something with the engine; while it is away wait for it, however long.

        `operation` is called again after an outage, so it has to look how far it got.

        Raises:
            EngineRefusedError: the engine's answer is no.
        """
        pause_s = self._first_pause_s
        while True:
            try:
                return await self.call(operation)
            except EngineAwayError as error:
                self.note_away(error)
            await asyncio.sleep(pause_s)
            pause_s = min(self._longest_pause_s, pause_s * 2)

    def note_away(self, error: EngineAwayError) -> None:
        """Log that the engine is away, once per outage."""
        if not self._is_away:
            self._is_away = True
            _log.warning("engine gives no answer, waiting for it", engine=self.url, why=str(error))
