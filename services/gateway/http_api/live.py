"""What happens, as it happens: server-sent events and a WebSocket, both resumable without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Header, Query, Request, WebSocket
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocketDisconnect

from fogbank.codec import EVENT_TYPES
from fogbank.domain.errors import FogError, InvalidArgumentError, UnauthenticatedError
from fogbank.domain.status import StatusChange
from services.gateway.app.deployments import Progress
from services.gateway.app.events import Events, Seen
from services.gateway.app.limits import Limits
from services.gateway.app.principal import Principal
from services.gateway.http_api import rendering
from services.gateway.http_api.access import WEBSOCKET_PROTOCOL, Caller, websocket_caller
from services.gateway.http_api.answers import errors
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.errors import status_of
from services.gateway.http_api.wording import shown

_log = structlog.get_logger(__name__)

router = APIRouter(tags=["live"])

_KEEPALIVE_S = 15.0
_LARGEST_SEQUENCE = 2**47
# A WebSocket's close code for "try again later".
_TRY_LATER = 1013

# Keys of sealed environments say nothing without the sealing key, and are nobody's business.
_HIDDEN = frozenset({"env_key"})
_TYPE_NAMES = {kind.domain: kind.name for kind in EVENT_TYPES.values()}

After = Annotated[
    int,
    Query(ge=0, le=_LARGEST_SEQUENCE, description="Log sequence to go on after; 0 for now on."),
]


@router.get(
    "/api/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "One message for each commit; its id is the commit's log sequence.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **errors(401, 429),
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
    cursor = _sequence("Last-Event-ID", last_event_id) if last_event_id else after
    events, limits = used_by(request).events, used_by(request).identity.limits
    # Before the answer begins; from then on an error can only end it.
    limits.room_for_stream(caller)
    stream = _counted(limits, caller, _messages(events, caller, cursor or events.position))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream, 200, headers, "text/event-stream")


async def _counted(
    limits: Limits, caller: Principal, messages: AsyncGenerator[bytes]
) -> AsyncIterator[bytes]:
    async with aclosing(messages):
        with limits.stream(caller):
            async for message in messages:
                yield message


async def _messages(events: Events, caller: Principal, after: int) -> AsyncGenerator[bytes]:
    """Yield a message per commit that has something for the caller.

    In a quiet time, and after commits without anything, the id alone is sent: it moves the point
    at which a client resumes, and keeps proxies from closing the connection.
    """
    yield b"retry: 1000\n\n"
    told = cursor = after
    following = events.follow(caller, after)
    upcoming = asyncio.ensure_future(anext(following))
    try:
        while True:
            done, _ = await asyncio.wait({upcoming}, timeout=_KEEPALIVE_S)
            if not done:
                yield _id_only(cursor) if cursor != told else b":\n\n"
                told = cursor
                continue
            seen = upcoming.result()
            upcoming = asyncio.ensure_future(anext(following))
            cursor = seen.commit.sequence
            if seen.events:
                yield b"id: %d\ndata: %s\n\n" % (cursor, to_json(_commit(seen)))
                told = cursor
    except FogError as error:
        _log.info("event stream ended", reason=error.reason)
    finally:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)
        await following.aclose()  # type: ignore[attr-defined]


def _id_only(sequence: int) -> bytes:
    return b"id: %d\n\n" % sequence


def _commit(seen: Seen) -> dict[str, Any]:
    commit = seen.commit
    return {
        "sequence": commit.sequence,
        "appended_at": rendering.instant(commit.appended_at_us),
        "writer": {"service": commit.service, "instance": commit.instance},
        "events": [
            {
                "index": index,
                "id": commit.envelopes[index].event_id,
                "type": _TYPE_NAMES.get(type(event), "") if event is not None else "",
                "aggregate": commit.envelopes[index].aggregate,
                "actor": commit.envelopes[index].actor,
                "occurred_at": rendering.instant(commit.envelopes[index].occurred_at_us),
                "data": rendering.plain(event, hidden=_HIDDEN) if event is not None else None,
            }
            for index, event in zip(seen.indexes, seen.events, strict=True)
        ],
    }


@router.websocket("/ws/deployments/{deployment_id}")
async def deployment_changes(websocket: WebSocket, deployment_id: str) -> None:
    """Send each change of a deployment's status; `?after=` resumes after a log sequence.

    The token comes in the Authorization header or as the second of the protocols
    `bearer, <token>`. Without `after`, the first message is the latest change so far.
    """
    uses = used_by(websocket)
    try:
        caller = websocket_caller(websocket, uses.identity)
        after = _after(websocket)
        view = uses.deployments.show(caller, _uuid(deployment_id))
        uses.identity.limits.room_for_stream(caller)
    except FogError as error:
        headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthenticatedError) else {}
        refusal = rendering.json_response({"detail": error.message}, status_of(error), headers)
        await websocket.send_denial_response(refusal)
        return
    first = () if after else view.recent_changes[:1]
    # Read in the same breath as the view, so that nothing falls between the two.
    after = after or uses.events.position
    offered = websocket.headers.get("sec-websocket-protocol", "")
    chosen = WEBSOCKET_PROTOCOL if offered.split(",")[0].strip() == WEBSOCKET_PROTOCOL else None
    await websocket.accept(subprotocol=chosen)
    sending = asyncio.ensure_future(
        _send_changes(websocket, first, uses.deployments.watch(caller, after, [view.id]))
    )
    listening = asyncio.ensure_future(_until_closed(websocket))
    try:
        with uses.identity.limits.stream(caller):
            await asyncio.wait({sending, listening}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        listening.cancel()
        await asyncio.gather(sending, listening, return_exceptions=True)


async def _send_changes(
    websocket: WebSocket, first: Iterable[StatusChange], progress: AsyncIterator[Progress]
) -> None:
    try:
        for change in first:
            await websocket.send_json(rendering.live_change(change))
        async for each in progress:
            for change in each.changes:
                await websocket.send_json(rendering.live_change(change))
    except FogError as error:
        await websocket.close(_TRY_LATER, error.reason)
    except WebSocketDisconnect:
        return


async def _until_closed(websocket: WebSocket) -> None:
    """Read and drop what a client sends, until it goes."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


def _after(websocket: WebSocket) -> int:
    given = websocket.query_params.get("after", "0")
    return _sequence("after", given)


def _sequence(field: str, given: str) -> int:
    number = int(given[:20]) if given.isdecimal() and given.isascii() else -1
    if not 0 <= number <= _LARGEST_SEQUENCE:
        raise InvalidArgumentError.of_field(
            field, f"must be a log sequence, 0 to {_LARGEST_SEQUENCE}, got {shown(given)}"
        )
    return number


def _uuid(given: str) -> str:
    try:
        return str(UUID(given))
    except ValueError:
        raise InvalidArgumentError.of_field(
            "deployment_id", f"must be a UUID, got {shown(given)}"
        ) from None
