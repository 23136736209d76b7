"""Refuses requests while the gateway does not serve."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.app.gate import Gate
from services.gateway.http_api.errors import error_response

# Probes are answered whatever happens: they say what is missing.
_ALWAYS = frozenset({"/health", "/healthz", "/readiness", "/readyz", "/livez", "/metrics"})
_TRY_AGAIN_LATER = 1013


class Gatekeeper:
    """Answers 503 while its gate is closed, and lets no WebSocket be opened."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""
        error = self._gate.refusal()
        if error is None or scope.get("path") in _ALWAYS:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await error_response(Request(scope), error)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})
