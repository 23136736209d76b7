"""Channels to other services: one per peer, opened once and kept."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partialmethod
from typing import Any, cast

import grpc
import grpc.aio

# The server allows pings this often, see grpc_server.
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
)

# What is shown now: the same object for as long as it is the same.
CurrentCredentials = Callable[[], grpc.ChannelCredentials]
Continuation = Callable[[grpc.aio.ClientCallDetails, Any], Any]


@asynccontextmanager
async def open_channel(
    address: str,
    *,
    token: str | None = None,
    credentials: grpc.ChannelCredentials | CurrentCredentials | None = None,
    server_name: str = "",
) -> AsyncIterator[grpc.aio.Channel]:
    """Keep a channel to `address` (host:port) open while the context lasts.

    It connects when first used and again after each loss. `token` goes with every call as a
    bearer; `credentials` are for TLS: a function is asked before each call, and when it returns
    others, calls go on a new connection from then on, while those under way go on. `server_name`
    is the name that the server's certificate must have in place of the address. Answers may be as
    large as 32 MiB.
    """
    interceptors = _bearer(token) if token else None
    options = list(_OPTIONS)
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    async with AsyncExitStack() as stack:

        def opened(shown: grpc.ChannelCredentials) -> grpc.aio.Channel:
            channel = grpc.aio.secure_channel(address, shown, options, interceptors=interceptors)
            stack.push_async_callback(channel.close, grace=None)
            return channel

        if credentials is None:
            channel = grpc.aio.insecure_channel(address, list(_OPTIONS), interceptors=interceptors)
            stack.push_async_callback(channel.close, grace=None)
            yield channel
        elif isinstance(credentials, grpc.ChannelCredentials):
            yield opened(credentials)
        else:
            yield cast("grpc.aio.Channel", _Renewed(opened, credentials))


class _Renewed:
    """As much of a channel as stubs use: each call is made by one that shows what is current."""

    def __init__(
        self,
        opened: Callable[[grpc.ChannelCredentials], grpc.aio.Channel],
        credentials: CurrentCredentials,
    ) -> None:
        self._opened = opened
        self._credentials = credentials
        self._shown = credentials()
        self._channel = opened(self._shown)

    def _current(self) -> grpc.aio.Channel:
        shown = self._credentials()
        if shown is not self._shown:
            self._channel, self._shown = self._opened(shown), shown
        return self._channel

    def _method(self, kind: str, *method: Any, **coding: Any) -> Callable[..., Any]:
        def call(*request: Any, **options: Any) -> Any:
            return getattr(self._current(), kind)(*method, **coding)(*request, **options)

        return call

    unary_unary = partialmethod(_method, "unary_unary")
    unary_stream = partialmethod(_method, "unary_stream")
    stream_unary = partialmethod(_method, "stream_unary")
    stream_stream = partialmethod(_method, "stream_stream")


class _Bearer:
    """Adds a bearer token to a call's metadata."""

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def details(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata.add("authorization", self._value)
        return grpc.aio.ClientCallDetails(
            method=details.method,
            timeout=details.timeout,
            metadata=metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )


# grpc.aio takes an interceptor for one kind of call only, hence four of them.


class _UnaryUnary(_Bearer, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self, continuation: Continuation, details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self.details(details), request)


class _UnaryStream(_Bearer, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self, continuation: Continuation, details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(self.details(details), request)


class _StreamUnary(_Bearer, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self,
        continuation: Continuation,
        details: grpc.aio.ClientCallDetails,
        requests: AsyncIterable[Any] | Iterable[Any],
    ) -> Any:
        return await continuation(self.details(details), requests)


class _StreamStream(_Bearer, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self,
        continuation: Continuation,
        details: grpc.aio.ClientCallDetails,
        requests: AsyncIterable[Any] | Iterable[Any],
    ) -> Any:
        return await continuation(self.details(details), requests)


def _bearer(token: str) -> list[grpc.aio.ClientInterceptor]:
    return [_UnaryUnary(token), _UnaryStream(token), _StreamUnary(token), _StreamStream(token)]
