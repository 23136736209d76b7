"""What happens around every call that a server answers: errors, metrics, deadlines, the bearer.

`Boundary` is the outermost. It alone ends calls with an error: handlers and inner interceptors
raise, because a server that stops doesn't wait for handlers that aborted by themselves.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast

import grpc
import grpc.aio
import structlog
from grpc_status import rpc_status

from fogbank.domain.errors import DeadlineExceededError, FogError, UnauthenticatedError
from fogbank.runtime import metrics
from fogbank.runtime.deadlines import deadline_s
from fogbank.runtime.grpc_errors import from_rpc_error, internal_status, to_status

_log = structlog.get_logger(__name__)

if TYPE_CHECKING:  # generic in the stubs only
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
else:
    Handler = grpc.RpcMethodHandler
    Context = grpc.aio.ServicerContext
Details = grpc.HandlerCallDetails
Continue = Callable[[Details], Awaitable[Handler | None]]

_FIRST_MESSAGE_S = 5.0
# How long a client may take to read up to the status that its call ended with.
_STATUS_S = 60.0
# Open to anyone: probes and tools must work before anybody has a token.
OPEN_METHODS = ("/grpc.health.v1.Health/", "/grpc.reflection.")


def _rebuild(handler: Handler, unary: Any, stream: Any) -> Handler:
    """Return the handler with its behaviour replaced by the one for its kind of answer."""
    behaviour = stream if handler.response_streaming else unary
    if handler.request_streaming:
        make = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
    else:
        make = (
            grpc.unary_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.unary_unary_rpc_method_handler
        )
    return make(
        behaviour,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _behaviour(handler: Handler) -> Callable[[Any, Context], Any]:
    found = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    return cast("Callable[[Any, Context], Any]", found)


async def _answer(behaviour: Callable[[Any, Context], Any], request: Any, context: Context) -> Any:
    answer = behaviour(request, context)
    return await answer if inspect.isawaitable(answer) else answer


async def _answers(
    behaviour: Callable[[Any, Context], Any], request: Any, context: Context
) -> AsyncIterator[Any]:
    """Yield a stream's answers, whether the handler yields them or writes them itself."""
    result = behaviour(request, context)
    if inspect.isawaitable(result):
        await result
        return
    try:
        async for answer in result:
            yield answer
    finally:
        await result.aclose()


class Boundary(grpc.aio.ServerInterceptor):
    """The outermost: counts, times, sets the deadline, turns errors into statuses."""

    def __init__(self, deadline_s: Callable[[object], float] = deadline_s) -> None:
        """`deadline_s` tells how many seconds the call of one request and one answer may take."""
        self._deadline_s = deadline_s

    async def intercept_service(self, continuation: Continue, details: Details) -> Handler | None:
        handler = await continuation(details)
        if handler is None:
            # Not labelled with what the caller made up: labels must stay few.
            metrics.GRPC_HANDLED.labels("unknown", "UNIMPLEMENTED").inc()
            return None
        behaviour, method = _behaviour(handler), details.method

        async def unary(request: Any, context: Context) -> Any:
            call = _Call(method)
            deadline = asyncio.timeout(
                None if handler.request_streaming else self._deadline_s(request)
            )
            try:
                async with deadline:
                    return await _answer(behaviour, request, context)
            except BaseException as error:  # noqa: BLE001 (`fail` raises in every case)
                if isinstance(error, TimeoutError) and deadline.expired():
                    error = DeadlineExceededError("the call took longer than the server allows")
                await call.fail(error, context)
            finally:
                call.end()

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            call = _Call(method)
            try:
                async for answer in _answers(behaviour, request, context):
                    yield answer
            except BaseException as error:  # noqa: BLE001 (`fail` raises in every case)
                await call.fail(error, context)
            finally:
                call.end()

        return _rebuild(handler, unary, stream)


class _Call:
    """One call: what came of it, and how long it took."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._code = "OK"
        self._began_s = time.monotonic()
        metrics.GRPC_IN_FLIGHT.labels(method).inc()

    def end(self) -> None:
        metrics.GRPC_IN_FLIGHT.labels(self._method).dec()
        metrics.GRPC_HANDLED.labels(self._method, self._code).inc()
        metrics.GRPC_SECONDS.labels(self._method).observe(time.monotonic() - self._began_s)

    async def fail(self, error: BaseException, context: Context) -> NoReturn:
        """End the call with the status of an error. Always raises."""
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._code = "CANCELLED"
            raise error
        if isinstance(error, grpc.aio.AbortError):
            self._code = _name(context)
            raise error
        if isinstance(error, grpc.aio.AioRpcError) and error.code() in _PASSED_ON:
            error = from_rpc_error(error)
        if isinstance(error, FogError):
            status = to_status(error)
            _log.debug("call refused", method=self._method, reason=error.reason)
        else:
            status = internal_status()
            _log.error("call failed", method=self._method, exc_info=error)
        self._code = _CODES[status.code]
        try:
            async with asyncio.timeout(_STATUS_S):
                await context.abort_with_status(rpc_status.to_status(status))
        except TimeoutError:
            # It waits behind a message that nobody reads: the call ends without one.
            raise asyncio.CancelledError from None
        raise AssertionError("abort raises")  # pragma: no cover


_CODES: dict[object, str] = {code.value[0]: code.name for code in grpc.StatusCode}
# Of the errors of a service behind this one, those that mean the same to our caller.
_PASSED_ON = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def _name(context: Context) -> str:
    code: object = context.code()  # a number or a StatusCode, as the handler set it
    return code.name if isinstance(code, grpc.StatusCode) else _CODES.get(code, "UNKNOWN")


class RequireBearer(grpc.aio.ServerInterceptor):
    """Lets only callers with the services' own token in; health and reflection are open."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(self, continuation: Continue, details: Details) -> Handler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN_METHODS):
            return handler
        if hmac.compare_digest(_authorization(details), self._expected):
            return handler

        async def refuse(_context: Context) -> None:
            raise UnauthenticatedError("this service answers only other services of the fleet")

        # Raised where `Boundary` catches it: inside the handler.
        return guarded(handler, refuse)


def guarded(handler: Handler, admit: Callable[[Context], Awaitable[None]]) -> Handler:
    """Return the handler with `admit` before it, which raises the error that a call ends with."""
    behaviour = _behaviour(handler)

    async def check(request: Any, context: Context) -> None:
        try:
            await admit(context)
        except FogError:
            if handler.request_streaming:
                await take_first(request)
            raise

    async def unary(request: Any, context: Context) -> Any:
        await check(request, context)
        return await _answer(behaviour, request, context)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        await check(request, context)
        async for answer in _answers(behaviour, request, context):
            yield answer

    return _rebuild(handler, unary, stream)


def held(handler: Handler, hold: Callable[[Context], AbstractContextManager[None]]) -> Handler:
    """Return the handler of a stream as one that lasts within a context, which may refuse it."""
    behaviour = _behaviour(handler)

    async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
        with ExitStack() as stack:
            try:
                stack.enter_context(hold(context))
            except FogError:
                if handler.request_streaming:
                    await take_first(request)
                raise
            async for answer in _answers(behaviour, request, context):
                yield answer

    return _rebuild(handler, stream, stream)


async def take_first(requests: AsyncIterator[Any]) -> None:
    """Take the first message of a stream that is to be refused, if it comes soon.

    A Python client whose stream is refused while it sends its first message gets INTERNAL from its
    own library instead of the refusal.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_MESSAGE_S):
            await anext(aiter(requests), None)


def _authorization(details: Details) -> bytes:
    for key, value in details.invocation_metadata or ():
        if key == "authorization":
            return value if isinstance(value, bytes) else value.encode()
    return b""
