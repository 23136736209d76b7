"""What happens, as it happens: server-sent events and a WebSocket, both resumable without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Query, Request, WebSocket
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocketDisconnect

from fogbank.domain.envelope import Commit
from fogbank.domain.errors import FogError, InvalidArgumentError, UnauthenticatedError
from fogbank.domain.ids import canonical_uuid
from fogbank.domain.status import StatusChange
from services.gateway.app.deployments import Progress
from services.gateway.app.events import STRETCH_COMMITS
from services.gateway.app.principal import Principal
from services.gateway.core.whole_numbers import whole_number
from services.gateway.http_api import rendering
from services.gateway.http_api.access import WEBSOCKET_PROTOCOL, Caller, websocket_caller
from services.gateway.http_api.answers import errors
from services.gateway.http_api.dependencies import HttpDependencies, used_by
from services.gateway.http_api.errors import status_of
from services.gateway.http_api.event_messages import EventMessages
from services.gateway.http_api.parameters import check_among
from services.gateway.http_api.wording import shown

_log = structlog.get_logger(__name__)

router = APIRouter(tags=["live"])

_KEEPALIVE_S = 15.0
_LARGEST_SEQUENCE = 2**47
# A WebSocket's close codes: "try again later", and one of the range for applications.
_TRY_LATER = 1013
_NOT_AUTHENTICATED = 4401
_PIECE_BYTES = 64 * 1024

After = Annotated[
    int,
    Query(
        ge=0,
        le=_LARGEST_SEQUENCE,
        description="Log sequence to go on after, which the log must have; 0 for now on.",
    ),
]


@router.get(
    "/api/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": (
                "One message for each commit; its id is the commit's log sequence. The last one is "
                "an `end` event with a `detail` where the caller may not follow any more."
            ),
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **errors(400, 401, 429, 503),
    },
    operation_id="events",
)
async def follow(
    caller: Caller,
    request: Request,
    after: After = 0,
    last_event_id: Annotated[
        str, Header(alias="Last-Event-ID", description="Goes on after it; wins over `after`.")
    ] = "",
) -> Response:
    """Follow the log: administrators all of it, others what concerns their deployments."""
    cursor, name = after, "after"
    if last_event_id:
        cursor, name = _sequence("Last-Event-ID", last_event_id), "Last-Event-ID"
    uses = used_by(request)
    # Before the answer begins; from then on an error can only end it.
    await uses.events.check_reached(cursor, name)
    uses.identity.limits.room_for_stream(caller)
    made = request.app.state.event_messages
    messages = _messages(uses, made, caller, cursor or uses.events.position)
    stream = _with_end(uses.identity.stream(caller, messages))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, 200, headers, "text/event-stream")


async def _messages(
    uses: HttpDependencies, made: EventMessages, caller: Principal, after: int
) -> AsyncGenerator[bytes]:
    """Yield the messages of all commits that have something for the caller.

    In a quiet time, and after commits without anything, the id alone is sent: it moves the point
    at which a client resumes, and keeps proxies from closing the connection.
    """
    told = cursor = after
    loop = asyncio.get_running_loop()
    yield b"retry: 1000\n\n"
    due_s = loop.time() + _KEEPALIVE_S
    while True:
        commits: list[Commit] = []
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due_s):
                commits = await uses.events.after(cursor)
        silent = True
        for piece, sequence in _pieces(made, caller, commits):
            yield piece
            silent, told = False, sequence
        cursor = commits[-1].sequence if commits else cursor
        if silent and (cursor - told >= STRETCH_COMMITS or loop.time() >= due_s):
            yield b"id: %d\n\n" % cursor if cursor != told else b":\n\n"
            silent, told = False, cursor
        if not silent:
            due_s = loop.time() + _KEEPALIVE_S


async def _with_end(messages: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield messages, and what ended them: an event unless it helps to come again."""
    try:
        async with aclosing(messages):
            async for message in messages:
                yield message
    except UnauthenticatedError as error:
        yield b"event: end\ndata: %s\n\n" % to_json({"detail": error.message})
    except FogError as error:
        _log.info("event stream ended", reason=error.reason)
        yield b": %s, come again\n\n" % error.reason.encode()


def _pieces(
    made: EventMessages, caller: Principal, commits: Iterable[Commit]
) -> Iterator[tuple[bytes, int]]:
    """Yield messages joined, so that each write is neither tiny nor huge.

    Each with the sequence of the last commit in it.
    """
    piece, last = b"", 0
    for commit in commits:
        if message := made.of(caller, commit):
            piece, last = piece + message, commit.sequence
        if len(piece) >= _PIECE_BYTES:
            yield piece, last
            piece = b""
    if piece:
        yield piece, last


@router.websocket("/ws/deployments/{deployment_id}")
async def deployment_changes(websocket: WebSocket, deployment_id: str) -> None:
    """Send each change of a deployment's status; `?after=` resumes after a log sequence.

    The token comes in the Authorization header or as the second of the protocols
    `bearer, <token>`; once it counts no more, the close code is 4401. Without `after`, the first
    message is the latest change so far.
    """
    uses = used_by(websocket)
    try:
        caller = await websocket_caller(websocket, uses.identity)
        after = _after(websocket)
        await uses.events.check_reached(after, "after")
        known = await uses.deployments.own(caller, _uuid(deployment_id))
        uses.identity.limits.room_for_stream(caller)
    except FogError as error:
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthenticatedError) else {}
        refusal = rendering.json_response({"detail": error.message}, status_of(error), headers)
        await websocket.send_denial_response(refusal)
        return
    view = uses.deployments.show(caller, known.id)
    first = () if after else view.recent_changes[:1]
    # Read in the same breath as the view, so that nothing falls between the two.
    after = after or uses.events.position
    offered = websocket.headers.get("sec-websocket-protocol", "")
    chosen = WEBSOCKET_PROTOCOL if offered.split(",")[0].strip() == WEBSOCKET_PROTOCOL else None
    await websocket.accept(subprotocol=chosen)
    progress = uses.identity.stream(caller, uses.deployments.watch(caller, after, [view.id]))
    sending = asyncio.ensure_future(_send_changes(websocket, first, progress))
    listening = asyncio.ensure_future(_until_closed(websocket))
    try:
        await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        listening.cancel()
        await asyncio.gather(sending, listening, return_exceptions=True)


async def _send_changes(
    websocket: WebSocket, first: Iterable[StatusChange], progress: AsyncGenerator[Progress]
) -> None:
    try:
        for change in first:
            await websocket.send_json(rendering.live_change(change))
        async with aclosing(progress):
            async for each in progress:
                for change in each.changes:
                    await websocket.send_json(rendering.live_change(change))
    except UnauthenticatedError as error:
        await websocket.close(_NOT_AUTHENTICATED, error.message)
    except FogError as error:
        await websocket.close(_TRY_LATER, error.reason)
    except WebSocketDisconnect:
        return


async def _until_closed(websocket: WebSocket) -> None:
    """Read and drop what a client sends, until it goes."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def _after(websocket: WebSocket) -> int:
    check_among(websocket, ("after",))
    given = websocket.query_params.get("after", "0")
    return _sequence("after", given)


def _sequence(field: str, given: str) -> int:
    number = whole_number(given)
    if number is None or number > _LARGEST_SEQUENCE:
        raise InvalidArgumentError.of_field(
            field, f"must be a log sequence, 0 to {_LARGEST_SEQUENCE}, got {shown(given)}"
        )
    return number


def _uuid(given: str) -> str:
    found = canonical_uuid(given)
    if not found:
        raise InvalidArgumentError.of_field("deployment_id", f"must be a UUID, got {shown(given)}")
    return found
