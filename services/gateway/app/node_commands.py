"""Cordoning, draining and removing nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import structlog

from fogbank.domain import events as ev
from fogbank.domain.facts import NodeFact
from fogbank.domain.position import sequence_of
from fogbank.domain.views import NodeView
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.principal import Principal
from services.gateway.app.views import node_view
from services.gateway.core import node_commands as core
from services.gateway.core.asks import check_request_id
from services.gateway.core.service_accounts import Scope

_log = structlog.get_logger(__name__)

_NodeEvent = ev.NodeCordoned | ev.NodeUncordoned | ev.NodeDraining | core.Removal


class NodeCommands:
    """What administrators do to nodes, for all faces.

    Nodes go by id or name. Answered when the log holds the command and this gateway's fold has
    judged it; a repeat of a request id with the same content gets the first one's answer. All
    raise PermissionDeniedError for others than administrators, NotFoundError for a node that there
    is not, and UnavailableError with a hint when the log is down.
    """

    def __init__(self, fold: FleetFold, command_log: CommandLog, clock: Clock) -> None:
        self._fold = fold
        self._commands = command_log
        self._clock = clock

    async def cordon(
        self, principal: Principal, node: str, reason: str = "", request_id: str = ""
    ) -> NodeView:
        """Let a node take nothing new; what runs there stays."""
        reason = core.check_reason(reason)
        content = {"node": node, "reason": reason}
        await self._submit(
            principal,
            core.CORDON,
            request_id,
            content,
            lambda: ev.NodeCordoned(self._known(node).id, reason),
        )
        return self._view(node)

    async def uncordon(self, principal: Principal, node: str, request_id: str = "") -> NodeView:
        """Let a node take replicas again, and drain it no more."""
        await self._submit(
            principal,
            core.UNCORDON,
            request_id,
            {"node": node},
            lambda: ev.NodeUncordoned(self._known(node).id),
        )
        return self._view(node)

    async def drain(
        self,
        principal: Principal,
        node: str,
        deadline_ms: int | None = None,
        request_id: str = "",
        reason: str = "",
    ) -> NodeView:
        """Move a node's replicas elsewhere; stop what is left after `deadline_ms` (None: never)."""
        reason = core.check_reason(reason)
        content: dict[str, Any] = {"node": node, "deadline_ms": deadline_ms}
        if reason:  # so that one without is what it was before there were reasons
            content["reason"] = reason
        deadline_us = 0
        if deadline_ms is not None:
            deadline_us = self._clock.now_us() + core.check_deadline(deadline_ms) * 1_000
        await self._submit(
            principal,
            core.DRAIN,
            request_id,
            content,
            lambda: ev.NodeDraining(self._known(node).id, deadline_us, reason),
        )
        return self._view(node)

    async def remove(
        self, principal: Principal, node: str, *, force: bool = False, request_id: str = ""
    ) -> int:
        """Remove a node from the fleet for good; return the log sequence that says so.

        One that joined and never connected goes by its id.

        Raises:
            FailedPreconditionError: replicas are on it, and it isn't forced.
        """
        position = await self._submit(
            principal,
            core.REMOVE,
            request_id,
            {"node": node, "force": force},
            lambda: core.removal(self._fold.fleet, node, force=force),
        )
        return sequence_of(position)

    async def _submit(
        self,
        principal: Principal,
        method: str,
        request_id: str,
        content: Mapping[str, Any],
        event_of: Callable[[], _NodeEvent],
    ) -> int:
        principal.require_admin(Scope.NODES)
        check_request_id(request_id)
        request_id = request_id or str(uuid4())
        user_id, now_us = principal.user_id, self._clock.now_us()
        asked = core.node_envelope(
            user_id, method, request_id, ev.NodeUncordoned(""), content=content, now_us=now_us
        )
        answered = self._commands.answered(asked)
        if answered is not None:
            return answered
        event = event_of()
        position = await self._commands.submit(
            principal,
            core.node_envelope(user_id, method, request_id, event, content=content, now_us=now_us),
        )
        _log.info("node command", method=method, node=event.node_id, named=content["node"])
        return position

    def _known(self, node: str) -> NodeFact:
        return core.find_node(self._fold.fleet, node)

    def _view(self, node: str) -> NodeView:
        return node_view(self._fold, self._known(node))
