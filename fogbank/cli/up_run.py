"""Runs a local system in the foreground: start, ready, signals, stop."""

import asyncio
import logging
import signal
import sys
from collections.abc import Collection
from typing import Protocol, Self
from uuid import uuid4

import grpc
import structlog

from fogbank.cli.connection import channel_credentials
from fogbank.cli.failures import EXIT_DONE, EXIT_INTERRUPTED
from fogbank.local.errors import LocalError
from fogbank.local.state import LocalState
from fogbank.local.system import LocalSystem, Reporter, UpOptions
from fogbank.v1 import (
    identity_service_pb2,
    identity_service_pb2_grpc,
    node_service_pb2,
    node_service_pb2_grpc,
    nodes_pb2,
)

_CALL_TIMEOUT_S = 5.0
_PAGE = 1_000
_US_PER_S = 1_000_000
_CONNECTED = frozenset(
    {
        nodes_pb2.NODE_STATUS_IDLE,
        nodes_pb2.NODE_STATUS_ACTIVE,
        nodes_pb2.NODE_STATUS_BUSY,
        nodes_pb2.NODE_STATUS_MAINTENANCE,
    }
)


class UpReporter(Reporter, Protocol):
    """Also tells of the system as a whole."""

    def ready(self, state: LocalState) -> None:
        """Tell that all is ready."""

    def stopping(self) -> None:
        """Tell that it is being stopped."""

    def close(self) -> None:
        """Let go of the terminal."""


def run(options: UpOptions, reporter: UpReporter) -> int:
    """Run the system until a signal and return the exit code.

    The first SIGINT, SIGTERM or SIGHUP stops everything in order; another one ends it by force.

    Raises:
        LocalError: it can't be started.
    """
    _keep_standard_output_clean()
    try:
        return asyncio.run(_run(options, reporter))
    finally:
        reporter.close()


def _keep_standard_output_clean() -> None:
    """Send what libraries log in this process to standard error, and only what matters."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class _Signals:
    """Turns signals into a stop, or, when they come again, into an end."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.kill = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._came)

    def _came(self) -> None:
        (self.kill if self.stop.is_set() else self.stop).set()


async def _run(options: UpOptions, reporter: UpReporter) -> int:
    signals = _Signals()
    async with _FirstUser() as user:
        system = LocalSystem(options, reporter, user)
        async with system:
            killer = asyncio.create_task(_kill_when_asked(signals, system))
            try:
                if await _started(system, signals):
                    state = system.state
                    reporter.ready(state)
                    await signals.stop.wait()
                reporter.stopping()
                await system.stop()
            finally:
                killer.cancel()
    return EXIT_INTERRUPTED if signals.kill.is_set() else EXIT_DONE


async def _started(system: LocalSystem, signals: _Signals) -> bool:
    """Start the system; False if a signal came first."""
    start = asyncio.create_task(system.start())
    stop = asyncio.create_task(signals.stop.wait())
    try:
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        if start.done():
            start.result()
            return True
        return False
    finally:
        for task in (start, stop):
            task.cancel()
        await asyncio.gather(start, stop, return_exceptions=True)


async def _kill_when_asked(signals: _Signals, system: LocalSystem) -> None:
    await signals.kill.wait()
    system.kill()


class _FirstUser:
    """Asks the gateway as the first user: how many nodes are connected, and for a join token."""

    def __init__(self) -> None:
        self._channel: grpc.aio.Channel | None = None
        self._token = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def count(self, state: LocalState, names: Collection[str], since: float) -> int:
        """Return how many of these nodes shook hands since then; 0 while the gateway can't say."""
        try:
            nodes = await self._nodes(await self._signed_in(state))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAUTHENTICATED:
                self._token = ""
            return 0
        # Before their agents are back, those of a former run still show as they were.
        return sum(
            node.name in names
            and node.status in _CONNECTED
            and node.connected_at.ToMicroseconds() >= since * _US_PER_S
            for node in nodes
        )

    async def join_token(self, state: LocalState, uses: int) -> str:
        """Return a token with which so many nodes may join.

        Raises:
            LocalError: the gateway gives none.
        """
        request = node_service_pb2.CreateJoinTokenRequest(request_id=str(uuid4()), uses=uses)
        try:
            channel = await self._signed_in(state)
            made = await node_service_pb2_grpc.NodeServiceStub(channel).CreateJoinToken(
                request, timeout=_CALL_TIMEOUT_S, metadata=self._metadata
            )
        except grpc.aio.AioRpcError as error:
            raise LocalError(f"no join token for the nodes: {error.details()}") from error
        return str(made.token)

    async def _signed_in(self, state: LocalState) -> grpc.aio.Channel:
        if self._channel is None:
            credentials = channel_credentials(state.ca)
            self._channel = (
                grpc.aio.insecure_channel(state.grpc)
                if credentials is None
                else grpc.aio.secure_channel(state.grpc, credentials)
            )
        if not self._token:
            self._token = await self._sign_in(self._channel, state)
        return self._channel

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token}"),)

    @staticmethod
    async def _sign_in(channel: grpc.aio.Channel, state: LocalState) -> str:
        stub = identity_service_pb2_grpc.IdentityServiceStub(channel)
        answer = await stub.Login(
            identity_service_pb2.LoginRequest(
                username=state.admin_user, password=state.admin_password
            ),
            timeout=_CALL_TIMEOUT_S,
        )
        return str(answer.tokens.access_token)

    async def _nodes(self, channel: grpc.aio.Channel) -> list[nodes_pb2.Node]:
        stub = node_service_pb2_grpc.NodeServiceStub(channel)
        request = node_service_pb2.ListNodesRequest(page_size=_PAGE)
        nodes: list[nodes_pb2.Node] = []
        while True:
            page = await stub.ListNodes(
                request,
                timeout=_CALL_TIMEOUT_S,
                metadata=self._metadata,
            )
            nodes += page.nodes
            if not page.next_page_token:
                return nodes
            request.page_token = page.next_page_token
