"""What anybody may read and what takes long to encode: encoded once for all who ask.

The event loop stands still meanwhile, for everybody. So strangers are counted here too.
"""

from __future__ import annotations

from functools import partial

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.gateway.app.shared_answer import SharedAnswer
from services.gateway.http_api.access import address_of
from services.gateway.http_api.dependencies import used_by

# Prometheus asks every 15 s or so.
_METRICS_GOOD_FOR_S = 1.0
_OPENMETRICS = "application/openmetrics-text"


class MetricsText:
    """All metrics of this process, in the two formats of Prometheus."""

    def __init__(self) -> None:
        self._texts = {
            accepted: SharedAnswer(partial(_encoded, accepted), _METRICS_GOOD_FOR_S)
            for accepted in ("", _OPENMETRICS)
        }

    async def answer(self, request: Request) -> Response:
        """Answer in OpenMetrics to who accepts that, else in the older format."""
        accepted = _OPENMETRICS if _OPENMETRICS in request.headers.get("accept", "") else ""
        text, content_type = await self._texts[accepted]()
        return Response(text, headers={"Content-Type": content_type})


async def _encoded(accepted: str) -> tuple[bytes, str]:
    encoder, content_type = choose_encoder(accepted)
    return encoder(REGISTRY), content_type


def document_route() -> Route:
    """Return what serves the OpenAPI document encoded once; it goes before FastAPI's own route."""
    kept: list[bytes] = []

    async def document(request: Request) -> Response:
        used_by(request).identity.limits.anonymous(address_of(request))
        if not kept:
            kept.append(bytes(JSONResponse(request.app.openapi()).body))
        return Response(kept[0], media_type="application/json")

    return Route("/openapi.json", document, include_in_schema=False)
