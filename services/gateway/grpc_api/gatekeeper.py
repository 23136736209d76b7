"""Refuses calls while the gateway does not serve."""

from __future__ import annotations

import grpc.aio

from fogbank.runtime.grpc_interceptors import guarded
from services.gateway.app.gate import Gate
from services.gateway.grpc_api.authentication import Context, Continue, Details, Handler

# Probes and tools are answered whatever happens.
_ALWAYS = ("/grpc.health.v1.Health/", "/grpc.reflection.", "/grpc.channelz.")


class Gatekeeper(grpc.aio.ServerInterceptor):
    """Answers UNAVAILABLE while its gate is closed, agents and people alike."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(self, continuation: Continue, details: Details) -> Handler | None:
        handler = await continuation(details)
        error = self._gate.refusal()
        if error is None or handler is None or details.method.startswith(_ALWAYS):
            return handler

        async def refuse(_context: Context) -> None:
            raise error

        return guarded(handler, refuse)
