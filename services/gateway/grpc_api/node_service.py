"""NodeService: messages to use cases and back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc.aio
from google.protobuf.duration_pb2 import Duration

from fogbank.codec.node_replicas import node_replicas_to_pb
from fogbank.codec.rebalances import rebalance_plan_to_pb, rebalance_to_pb
from fogbank.codec.views import moment_from_pb, node_to_pb
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.join_rules import JoinTokenFact
from fogbank.domain.rebalancing import RebalanceTerms
from fogbank.domain.views import NodeView
from fogbank.v1 import node_service_pb2 as pb
from fogbank.v1 import node_service_pb2_grpc as rpc
from fogbank.v1 import nodes_pb2
from services.gateway.app.joining import Joining
from services.gateway.app.limits import Limits
from services.gateway.app.node_commands import NodeCommands
from services.gateway.app.nodes import Nodes
from services.gateway.app.principal import current_principal
from services.gateway.app.rebalances import Rebalances
from services.gateway.core.rebalances import DEFAULT_TERMS
from services.gateway.grpc_api.paging import page_offset, page_size, page_token

Context = grpc.aio.ServicerContext[Any, Any]

_QUERY = b"nodes"


class NodeService(rpc.NodeServiceServicer):
    """Shows nodes to everybody who is signed in; what changes them is for administrators."""

    def __init__(
        self,
        nodes: Nodes,
        commands: NodeCommands,
        rebalances: Rebalances,
        joining: Joining,
        limits: Limits,
    ) -> None:
        self._nodes = nodes
        self._limits = limits
        self._joining = joining
        self._commands = commands
        self._messages: dict[str, tuple[NodeView, nodes_pb2.Node]] = {}
        self._rebalances = rebalances

    async def ListNodes(
        self, request: pb.ListNodesRequest, context: Context
    ) -> pb.ListNodesResponse:
        """List nodes by name."""
        principal = current_principal()
        limit = page_size(request.page_size)
        query = _QUERY + request.as_of.SerializeToString()
        offset = page_offset(request.page_token, query)
        found = await self._nodes.list(
            limit, offset, _sequence(request.min_sequence), moment_from_pb(request.as_of)
        )
        self._limits.listed(principal, len(found.value.items))
        after = offset + len(found.value.items)
        more = found.value.items and after < found.value.total
        return pb.ListNodesResponse(
            nodes=[node_to_pb(view) for view in found.value.items],
            next_page_token=page_token(after, query) if more else "",
            total_size=found.value.total,
            as_of_sequence=found.as_of_sequence,
        )

    async def GetNode(self, request: pb.GetNodeRequest, context: Context) -> pb.GetNodeResponse:
        """Show a node."""
        current_principal()
        if not request.node:
            raise InvalidArgumentError.of_field("node", "must be a node's id or name")
        found = await self._nodes.get(
            request.node, _sequence(request.min_sequence), moment_from_pb(request.as_of)
        )
        return pb.GetNodeResponse(node=node_to_pb(found.value), as_of_sequence=found.as_of_sequence)

    async def ListNodeReplicas(
        self, request: pb.ListNodeReplicasRequest, context: Context
    ) -> pb.ListNodeReplicasResponse:
        """List the replicas on a node that the caller may see."""
        moment = moment_from_pb(request.as_of)
        principal = current_principal()
        found = await self._nodes.replicas(principal, request.node, moment)
        self._limits.listed(principal, len(found.value.items))
        return node_replicas_to_pb(found)

    async def WatchNodes(
        self, request: pb.WatchNodesRequest, context: Context
    ) -> AsyncIterator[pb.WatchNodesResponse]:
        """Follow nodes."""
        one_more = self._limits.row_by_row(current_principal())
        begins = True
        async for change in self._nodes.watch(_sequence(request.after_sequence)):
            if change.node is None:
                begins = False
            else:
                if begins:
                    one_more()
                node = self._message(change.node)
                yield pb.WatchNodesResponse(node=node, sequence=change.sequence)

    def _message(self, view: NodeView) -> nodes_pb2.Node:
        """Return a followed node's message, made once for all who follow it."""
        known = self._messages.get(view.id)
        if known is None or known[0] is not view:
            known = self._messages[view.id] = view, node_to_pb(view)
        return known[1]

    async def CordonNode(
        self, request: pb.CordonNodeRequest, context: Context
    ) -> pb.CordonNodeResponse:
        """Let a node take nothing new."""
        view = await self._commands.cordon(
            current_principal(), request.node, request.reason, request.request_id
        )
        return pb.CordonNodeResponse(node=node_to_pb(view))

    async def UncordonNode(
        self, request: pb.UncordonNodeRequest, context: Context
    ) -> pb.UncordonNodeResponse:
        """Let a node take replicas again."""
        view = await self._commands.uncordon(current_principal(), request.node, request.request_id)
        return pb.UncordonNodeResponse(node=node_to_pb(view))

    async def DrainNode(
        self, request: pb.DrainNodeRequest, context: Context
    ) -> pb.DrainNodeResponse:
        """Move a node's replicas elsewhere."""
        deadline_ms: int | None = None
        if request.HasField("deadline"):
            deadline_ms = _milliseconds(request.deadline)
        view = await self._commands.drain(
            current_principal(),
            request.node,
            deadline_ms,
            request.request_id,
            request.reason,
        )
        return pb.DrainNodeResponse(node=node_to_pb(view))

    async def RemoveNode(
        self, request: pb.RemoveNodeRequest, context: Context
    ) -> pb.RemoveNodeResponse:
        """Remove a node for good."""
        sequence = await self._commands.remove(
            current_principal(), request.node, force=request.force, request_id=request.request_id
        )
        return pb.RemoveNodeResponse(as_of_sequence=sequence)

    async def PlanRebalance(
        self, request: pb.PlanRebalanceRequest, context: Context
    ) -> pb.PlanRebalanceResponse:
        """Say which replicas a rebalance would move."""
        planned = await self._rebalances.plan(current_principal(), _terms(request.terms))
        return rebalance_plan_to_pb(planned)

    async def ApplyRebalance(
        self, request: pb.ApplyRebalanceRequest, context: Context
    ) -> pb.ApplyRebalanceResponse:
        """Let replicas be moved."""
        view = await self._rebalances.apply(
            current_principal(),
            _terms(request.terms),
            request.request_id,
            validate_only=request.validate_only,
        )
        return pb.ApplyRebalanceResponse(rebalance=rebalance_to_pb(view))

    async def GetRebalance(
        self, request: pb.GetRebalanceRequest, context: Context
    ) -> pb.GetRebalanceResponse:
        """Say how far the last rebalance is."""
        view = self._rebalances.status(current_principal())
        return pb.GetRebalanceResponse(rebalance=rebalance_to_pb(view))

    async def CreateJoinToken(
        self, request: pb.CreateJoinTokenRequest, context: Context
    ) -> pb.CreateJoinTokenResponse:
        """Make a token with which agents join."""
        lifetime_ms = _milliseconds(request.lifetime) if request.HasField("lifetime") else None
        token, fact = await self._joining.create(
            current_principal(), request.uses, lifetime_ms, request.request_id
        )
        made = _token(fact)
        return pb.CreateJoinTokenResponse(
            token=token.text,
            expires_at=made.expires_at,
            token_id=token.id,
            agent_port=self._joining.agent_port,
        )

    async def ListJoinTokens(
        self, request: pb.ListJoinTokensRequest, context: Context
    ) -> pb.ListJoinTokensResponse:
        """List the tokens."""
        found = self._joining.list(current_principal())
        return pb.ListJoinTokensResponse(tokens=[_token(*each) for each in found])

    async def RevokeJoinToken(
        self, request: pb.RevokeJoinTokenRequest, context: Context
    ) -> pb.RevokeJoinTokenResponse:
        """Let nobody join with a token any more."""
        fact = await self._joining.revoke(current_principal(), request.token_id, request.request_id)
        return pb.RevokeJoinTokenResponse(token=_token(fact))


def _token(fact: JoinTokenFact, waiting: Sequence[str] = ()) -> pb.JoinToken:
    message = pb.JoinToken(
        id=fact.id,
        max_uses=fact.max_uses,
        uses=fact.uses,
        revoked=fact.revoked,
        waiting_node_ids=waiting,
    )
    message.created_at.FromMicroseconds(fact.created_at_us)
    message.expires_at.FromMicroseconds(fact.expires_at_us)
    return message


def _milliseconds(span: Duration) -> int:
    return span.seconds * 1_000 + span.nanos // 1_000_000


def _sequence(number: int) -> int:
    if number < 0:
        raise InvalidArgumentError(f"a sequence must not be negative, got {number}")
    return number


def _terms(message: pb.RebalanceTerms) -> RebalanceTerms:
    """Return the terms, with defaults where none are given."""
    return RebalanceTerms(
        message.budget if message.HasField("budget") else DEFAULT_TERMS.budget,
        message.min_gain or DEFAULT_TERMS.min_gain,
        message.at_once or DEFAULT_TERMS.at_once,
    )
