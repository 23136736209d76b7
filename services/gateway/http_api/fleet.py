"""The fleet over HTTP: nodes, and how much room there is."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from fogbank.domain.errors import NotFoundError
from fogbank.domain.resources import NOTHING
from fogbank.domain.views import Moment, NodeView
from services.gateway.app.nodes import Nodes
from services.gateway.app.shared_answer import SharedAnswer
from services.gateway.core.bounds import LARGEST_OFFSET
from services.gateway.http_api import rendering
from services.gateway.http_api.access import SIGNED_IN, Caller
from services.gateway.http_api.answers import FleetAnswer, NodeAnswer, errors
from services.gateway.http_api.dependencies import used_by
from services.gateway.http_api.moments import DESCRIPTION as AS_OF
from services.gateway.http_api.moments import AsOf, moment_of
from services.gateway.http_api.parameters import IN_DIGITS, Switch

router = APIRouter(tags=["fleet"], dependencies=[SIGNED_IN])

_NODES_AT_ONCE = 1000
_LONGEST_NAME = 256
_PRESENT_FOR_S = 1.0


class NodesQuery(BaseModel):
    """Which nodes to list."""

    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=_NODES_AT_ONCE), IN_DIGITS] = _NODES_AT_ONCE
    offset: Annotated[int, Field(ge=0, le=LARGEST_OFFSET), IN_DIGITS] = 0
    as_of: str = Field("", description=AS_OF)


class FleetQuery(BaseModel):
    """What to show of the fleet."""

    model_config = ConfigDict(extra="forbid")

    nodes: Switch = Field(True, description="Whether to list the nodes beside their sums.")
    as_of: str = Field("", description=AS_OF)


@router.get(
    "/cluster/nodes",
    response_model=list[NodeAnswer],
    responses={
        200: {"headers": {"X-Total-Count": {"schema": {"type": "integer"}}}},
        **errors(401, 503),
    },
    operation_id="listNodes",
)
async def nodes(
    caller: Caller, request: Request, query: Annotated[NodesQuery, Query()]
) -> Response:
    """List nodes by name; with `as_of` as they were then."""
    moment, uses = moment_of(query.as_of), used_by(request)
    page = (await uses.nodes.list(query.limit, query.offset, moment=moment)).value
    uses.identity.limits.listed(caller, len(page.items))
    return rendering.json_response(
        [rendering.node(view) for view in page.items], headers={"X-Total-Count": str(page.total)}
    )


@router.get(
    "/cluster/nodes/{name}",
    response_model=NodeAnswer,
    responses=errors(401, 404, 503),
    operation_id="getNode",
)
async def node(
    request: Request,
    name: Annotated[str, Path(description="The node's name or id.")],
    query: AsOf,
) -> Response:
    """Show a node; with `as_of` as it was then."""
    moment = moment_of(query.as_of)
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise NotFoundError.of("node", name)
    found = await used_by(request).nodes.get(name, moment=moment)
    return rendering.json_response(rendering.node(found.value))


@router.get(
    "/cluster/state",
    response_model=FleetAnswer,
    responses=errors(401, 503),
    operation_id="clusterState",
)
@router.get(
    "/api/orchestration/services",
    response_model=FleetAnswer,
    responses=errors(401, 503),
    operation_id="orchestrationServices",
)
async def state(request: Request, query: Annotated[FleetQuery, Query()]) -> Response:
    """Show the sums over all nodes, and the nodes; with `as_of` as they were then.

    What is so now is at most a second old.
    """
    if moment := moment_of(query.as_of):
        body = await _encoded(used_by(request).nodes, moment, with_nodes=query.nodes)
    else:
        present: PresentFleet = request.app.state.present_fleet
        body = await present.encoded(with_nodes=query.nodes)
    return Response(body, media_type="application/json")


class PresentFleet:
    """The fleet as it is now, encoded once for all who ask at about the same time.

    All of a large one takes the event loop long, and everybody is shown the same.
    """

    def __init__(self, nodes: Nodes) -> None:
        self._answers = {
            with_nodes: SharedAnswer(
                partial(_encoded, nodes, None, with_nodes=with_nodes), _PRESENT_FOR_S
            )
            for with_nodes in (False, True)
        }

    async def encoded(self, *, with_nodes: bool) -> bytes:
        """Return it as JSON; UnavailableError if the ledger does not answer in time."""
        return await self._answers[with_nodes]()


async def _encoded(nodes: Nodes, moment: Moment | None, *, with_nodes: bool) -> bytes:
    as_of_sequence, views = await _all_nodes(nodes, moment)
    fingerprints = [view.fingerprint for view in views]
    content: dict[str, Any] = {
        "as_of_sequence": as_of_sequence,
        "nodes_total": len(views),
        "nodes_by_status": dict(Counter(view.status.name.lower() for view in views)),
        "capacity": rendering.resources(sum((each.capacity for each in fingerprints), NOTHING)),
        "allocatable": rendering.resources(
            sum((each.allocatable for each in fingerprints), NOTHING)
        ),
        "allocated": rendering.resources(sum((view.booked for view in views), NOTHING)),
        "nodes": [rendering.node(view) for view in views] if with_nodes else [],
    }
    return to_json(content)


async def _all_nodes(nodes: Nodes, moment: Moment | None) -> tuple[int, list[NodeView]]:
    """Return all nodes, read page by page, none of them older than the sequence."""
    views: list[NodeView] = []
    as_of_sequence = 0
    while True:
        answer = await nodes.list(_NODES_AT_ONCE, len(views), as_of_sequence, moment=moment)
        as_of_sequence = as_of_sequence or answer.as_of_sequence
        views += answer.value.items
        if len(views) >= answer.value.total or not answer.value.items:
            return as_of_sequence, views
