"""Who makes a call: the bearer token of the metadata, checked before the call is handled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import unquote

import grpc
import grpc.aio
from prometheus_client import Counter

from fogbank.domain.errors import FogError, ResourceExhaustedError, UnauthenticatedError
from fogbank.runtime.grpc_interceptors import guarded
from services.gateway.app.limits import Limits
from services.gateway.app.principal import Principal, set_current_principal
from services.gateway.grpc_api.scopes import scope_of

if TYPE_CHECKING:  # generic in the stubs only
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
Details = grpc.HandlerCallDetails
Continue = Callable[[Details], Awaitable[Handler | None]]

# Open to anyone: probes and tools, signing in, and agents, which show a token of their own.
OPEN_METHODS = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.",
    "/fogbank.v1.AgentService/",
    "/fogbank.v1.IdentityService/Register",
    "/fogbank.v1.IdentityService/Login",
    "/fogbank.v1.IdentityService/RefreshToken",
)

CUT = Counter("fog_grpc_streams_cut", "Streams ended because the client did not read.")

_PATIENCE_S = 30.0
_RETRY_HINT_MS = 1_000

# Shows whoever else is connected, by address.
_OF_THE_PROCESS = "/grpc.channelz."
# Clients poll it.
_NEVER_LIMITED = frozenset({"/fogbank.v1.DeploymentService/GetDeployment"})


class Authenticator(Protocol):
    """Whoever can tell what a token stands for."""

    async def authenticate(self, token: str) -> Principal:
        """Return who a token belongs to; UnauthenticatedError if it doesn't count."""


class Authenticate(grpc.aio.ServerInterceptor):
    """Lets only callers with a valid token in, and notes who they are."""

    def __init__(
        self,
        authenticator: Authenticator,
        limits: Limits | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        """Without `limits` nothing is counted; a stream's message must be read in `patience_s`."""
        self._authenticator = authenticator
        self._limits = limits
        self._patience_s = patience_s

    async def intercept_service(self, continuation: Continue, details: Details) -> Handler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN_METHODS):
            return handler
        try:
            principal = await self._authenticator.authenticate(_bearer(details))
        except FogError as error:
            # Also what could not be looked up: asking for it must not be free.
            return refusal(handler, error, self._limits)
        try:
            principal.require_scope(scope_of(details.method))
            if details.method.startswith(_OF_THE_PROCESS):
                principal.require_admin()
            if self._limits is not None and details.method not in _NEVER_LIMITED:
                self._limits.request(principal)
        except FogError as error:
            return refusal(handler, error)
        # A call is handled in the task that its interceptors run in.
        set_current_principal(principal)
        if not handler.response_streaming:
            return handler
        counted: AbstractContextManager[None] = nullcontext()
        if self._limits is not None:
            counted = self._limits.stream(principal)
            if handler.request_streaming:
                handler = _counting(handler, partial(self._limits.request, principal))
        return _patient(handler, counted, self._patience_s)


def _counting(handler: Handler, count: Callable[[], None]) -> Handler:
    """Return the handler of a stream both ways as one that counts each message it gets."""
    begin: Any = handler.stream_stream

    async def each_counted(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            count()
            yield request

    return grpc.stream_stream_rpc_method_handler(
        lambda requests, context: begin(each_counted(requests), context),
        handler.request_deserializer,
        handler.response_serializer,
    )


def _patient(handler: Handler, counted: AbstractContextManager[None], patience_s: float) -> Handler:
    """Return the handler of a stream as one that counts while it lasts, and ends if nobody reads.

    What waits for a client is bounded by its own window. One that does not take a message in time
    holds a stream for nobody.
    """
    begin: Any = handler.unary_stream or handler.stream_stream

    async def stream(request: Any, context: Any) -> None:
        with counted:
            async with aclosing(begin(request, context)) as messages:
                async for message in messages:
                    try:
                        async with asyncio.timeout(patience_s):
                            await context.write(message)
                    except TimeoutError:
                        CUT.inc()
                        raise ResourceExhaustedError(
                            f"A message was not read within {patience_s:g} s; go on after the "
                            "last sequence that you got",
                            reason="CLIENT_TOO_SLOW",
                            retry_after_ms=_RETRY_HINT_MS,
                        ) from None

    make = (
        grpc.stream_stream_rpc_method_handler
        if handler.request_streaming
        else grpc.unary_stream_rpc_method_handler
    )
    return make(stream, handler.request_deserializer, handler.response_serializer)


def _bearer(details: Details) -> str:
    for key, value in details.invocation_metadata or ():
        if key == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token:
                return token.strip()
    raise UnauthenticatedError("Not authenticated")


def address_of(context: Any) -> str:
    """Return where a call comes from, without the port; empty if that isn't known."""
    kind, _, peer = unquote(context.peer()).partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return ""
    return peer.rpartition(":")[0].strip("[]")


def refusal(handler: Handler, error: FogError, limits: Limits | None = None) -> Handler:
    """Return a handler of the same kind that raises where the outermost interceptor catches it.

    With `limits` it counts as a call from its address, by somebody who isn't known.
    """

    def refused(context: Any) -> FogError:
        try:
            if limits is not None:
                limits.anonymous(address_of(context))
        except ResourceExhaustedError as too_many:
            return too_many
        return error

    return guarded(handler, refused)
