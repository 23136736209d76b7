"""What happens around every request: figures, safe headers, and the last net for errors."""

from __future__ import annotations

import time

import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.http_api.errors import internal_response

_log = structlog.get_logger(__name__)

HANDLED = Counter(
    "fog_http_handled", "Requests answered, by route and status.", ["method", "route", "status"]
)
SECONDS = Histogram(
    "fog_http_seconds",
    "Time to the end of an answer; event streams are left out.",
    ["method", "route"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_STREAMS = frozenset({"/api/events"})


class Boundary:
    """The outermost layer. Errors that nobody foresaw become a 500 that tells nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; others than HTTP pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status = 0

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception as error:  # nothing of the inside may reach the caller
            _log.error("request failed", method=scope["method"], exc_info=error)
            if status:
                raise
            await internal_response(Request(scope))(scope, receive, send_on)
        finally:
            _count(scope, status, time.perf_counter() - began_s)


def _count(scope: Scope, status: int, seconds: float) -> None:
    # By the route's template, never by the path: labels must stay few.
    route = getattr(scope.get("route"), "path", "none")
    method = scope["method"] if scope["method"] in _METHODS else "other"
    HANDLED.labels(method, route, str(status or "aborted")).inc()
    if route not in _STREAMS:
        SECONDS.labels(method, route).observe(seconds)
