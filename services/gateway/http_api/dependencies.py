"""What the HTTP face stands on, and how a route gets at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from services.gateway.app.clusters import Clusters
from services.gateway.app.deployments import Deployments
from services.gateway.app.events import Events
from services.gateway.app.gate import Gate
from services.gateway.app.identity import Identity
from services.gateway.app.nodes import Nodes
from services.gateway.app.organizations import Organizations
from services.gateway.app.planning import Planning
from services.gateway.app.service_accounts import ServiceAccounts
from services.gateway.app.system import System
from services.gateway.app.updates import Updates
from services.gateway.core.bounds import GRPC_BOUNDS, Bounds

MAX_BODY_BYTES = 1024 * 1024
CLIENT_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class HttpDependencies:
    """The application layer behind the HTTP face.

    `database_answers` belongs to readiness; `max_body_bytes` bounds request bodies, and
    `client_patience_s` how long one may take; `bounds` what jobs may ask for in clusters without a
    quota; `shows_metrics` whether anybody may read metrics here.
    """

    deployments: Deployments
    planning: Planning
    updates: Updates
    organizations: Organizations
    clusters: Clusters
    service_accounts: ServiceAccounts
    nodes: Nodes
    identity: Identity
    events: Events
    system: System
    database_answers: Callable[[], Awaitable[bool]] | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    client_patience_s: float = CLIENT_PATIENCE_S
    gate: Gate = field(default_factory=Gate.opened)
    bounds: Bounds = GRPC_BOUNDS
    shows_metrics: bool = True


def used_by(connection: HTTPConnection) -> HttpDependencies:
    """Return what the app that handles a request stands on."""
    found: HttpDependencies = connection.app.state.dependencies
    return found
