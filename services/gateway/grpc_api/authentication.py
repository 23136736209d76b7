"""Who makes a call: the bearer token of the metadata, checked before the call is handled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

import grpc
import grpc.aio
from prometheus_client import Counter

from fogbank.domain.errors import ResourceExhaustedError
from fogbank.runtime.grpc_interceptors import guarded, held
from services.gateway.app.identity import Identity
from services.gateway.app.principal import Principal, current_principal, set_current_principal
from services.gateway.grpc_api.scopes import scope_of

if TYPE_CHECKING:  # generic in the stubs only
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    Context = grpc.aio.ServicerContext
Details = grpc.HandlerCallDetails
Continue = Callable[[Details], Awaitable[Handler | None]]

# Agents show a token of their own, and how many shake hands at once is bounded.
_AGENTS = "/fogbank.v1.AgentService/"
# Open to anyone: probes and tools, signing in, and agents.
OPEN_METHODS = (
    "/grpc.health.v1.Health/",
    "/grpc.reflection.",
    _AGENTS,
    "/fogbank.v1.SystemService/",
    "/fogbank.v1.IdentityService/Register",
    "/fogbank.v1.IdentityService/Login",
    "/fogbank.v1.IdentityService/RefreshToken",
)

CUT = Counter("fog_grpc_streams_cut", "Streams ended because the client did not read.")

_PATIENCE_S = 30.0
_RETRY_HINT_MS = 1_000

# Shows whoever else is connected, by address.
_OF_THE_PROCESS = "/grpc.channelz."
# Clients poll it; the past is folded again, and isn't polled.
_NEVER_LIMITED = frozenset({"/fogbank.v1.DeploymentService/GetDeployment"})


class Authenticate(grpc.aio.ServerInterceptor):
    """Lets only callers with a valid token in, notes who they are, and ends their streams."""

    def __init__(self, identity: Identity, patience_s: float = _PATIENCE_S) -> None:
        """A stream's message must be read in `patience_s`."""
        self._identity = identity
        self._patience_s = patience_s

    async def intercept_service(self, continuation: Continue, details: Details) -> Handler | None:
        handler = await continuation(details)
        if handler is None:
            return None
        if details.method.startswith(OPEN_METHODS):
            counted_here = handler.response_streaming and not details.method.startswith(_AGENTS)
            return held(handler, self._of_an_address) if counted_here else handler
        takes, counted = scope_of(details.method), details.method not in _NEVER_LIMITED

        async def admit(context: Context) -> None:
            principal = await self._identity.admit(
                _bearer(details), address_of(context), takes, counted=counted
            )
            if details.method.startswith(_OF_THE_PROCESS):
                principal.require_admin()
            # A call is handled in the task that admits it.
            set_current_principal(principal)

        if not counted:
            handler = self._past_counted(handler)
        return guarded(self._bounded(handler) if handler.response_streaming else handler, admit)

    def _past_counted(self, handler: Handler) -> Handler:
        """Return a handler that counts only what is asked of a past moment."""
        answer: Any = handler.unary_unary

        async def counted(request: Any, context: Context) -> Any:
            if request.HasField("as_of"):
                self._identity.limits.request(current_principal())
            return await answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            counted, handler.request_deserializer, handler.response_serializer
        )

    def _of_an_address(self, context: Context) -> AbstractContextManager[None]:
        return self._identity.limits.anonymous_stream(address_of(context))

    def _bounded(self, handler: Handler) -> Handler:
        """Return the handler of a stream as one that counts, and ends if nobody may or does read.

        What waits for a client is bounded by its own window. One that does not take a message in
        time holds a stream for nobody. Of streams both ways each message counts as a request, and
        waits for its turn.
        """
        begin: Any = handler.unary_stream or handler.stream_stream

        async def stream(request: Any, context: Context) -> None:
            principal = current_principal()
            if handler.request_streaming:
                request = self._counted(principal, request)
            items = self._identity.stream(principal, begin(request, context))
            async with aclosing(items) as messages:
                async for message in messages:
                    try:
                        async with asyncio.timeout(self._patience_s):
                            await context.write(message)
                    except TimeoutError:
                        CUT.inc()
                        raise ResourceExhaustedError(
                            f"A message was not read within {self._patience_s:g} s; go on after "
                            "the last sequence that you got",
                            reason="CLIENT_TOO_SLOW",
                            retry_after_ms=_RETRY_HINT_MS,
                        ) from None

        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
        return make(stream, handler.request_deserializer, handler.response_serializer)

    async def _counted(
        self, principal: Principal, requests: AsyncIterator[Any]
    ) -> AsyncIterator[Any]:
        async for request in requests:
            await self._identity.limits.turn(principal)
            yield request


def _bearer(details: Details) -> str:
    """Return the token that a call shows; empty for none."""
    for key, value in details.invocation_metadata or ():
        if key == "authorization" and isinstance(value, str):
            scheme, _, token = value.partition(" ")
            if scheme.lower() == "bearer" and token:
                return token.strip()
    return ""


def address_of(context: Context) -> str:
    """Return where a call comes from, without the port; empty if that isn't known."""
    kind, _, peer = unquote(context.peer()).partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return ""
    return peer.rpartition(":")[0].strip("[]")
