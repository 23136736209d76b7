"""The ledger's answers over gRPC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from fogbank.codec.audit import rederived_from_pb
from fogbank.codec.clusters import cluster_status_from_pb
from fogbank.codec.comparison import compared_from_pb
from fogbank.codec.log_evidence import (
    proof_from_pb,
    scrub_from_pb,
    signed_from_pb,
    verified_from_pb,
)
from fogbank.codec.node_replicas import node_replicas_from_pb
from fogbank.codec.policies import policy_to_pb
from fogbank.codec.views import (
    deployment_from_pb,
    moment_to_pb,
    node_from_pb,
    status_change_from_pb,
    status_record_from_pb,
    timestamp_to_pb,
)
from fogbank.domain.cluster_status import ClusterStatus
from fogbank.domain.comparison import ComparedPart
from fogbank.domain.errors import FogError
from fogbank.domain.log_evidence import CommitProof, LogScrub, SignedLog, VerifiedPart
from fogbank.domain.policy import Policy
from fogbank.domain.rederived import RederivedPart
from fogbank.domain.status import StatusChange
from fogbank.domain.views import (
    AsOf,
    DeploymentView,
    Moment,
    NodeReplica,
    NodeView,
    Page,
    StatusRecord,
)
from fogbank.log.port import StoredCommit, Writer
from fogbank.runtime.deadlines import PAST_ANSWER_S, PAST_TURN_S
from fogbank.v1 import audit_service_pb2, deployments_pb2
from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as rpc
from services.gateway.adapters.outages import as_outage
from services.gateway.app.fair_turns import FairTurns
from services.gateway.app.ports import DeploymentQuery, DeploymentSort, LedgerStatus, Recorded
from services.gateway.app.principal import asker_id
from services.gateway.core.touching import Kind

_TIMEOUT_S = 10.0
# The ledger folds one past state after the other, so it is asked for few at a time.
_PAST_AT_ONCE = 2
_PAST_WAITING = 32
_PAST_RETRY_MS = 5_000
# The statuses of a whole fleet.
_WHOLE_TIMEOUT_S = 60.0

_SORTS = {
    DeploymentSort.CREATED_AT: pb.DEPLOYMENT_SORT_CREATED_AT,
    DeploymentSort.NAME: pb.DEPLOYMENT_SORT_NAME,
    DeploymentSort.STATUS: pb.DEPLOYMENT_SORT_STATUS,
}


_KINDS = {
    Kind.DEPLOYMENT: pb.RECORD_KIND_DEPLOYMENT,
    Kind.NODE: pb.RECORD_KIND_NODE,
    Kind.USER: pb.RECORD_KIND_USER,
    Kind.CLUSTER: pb.RECORD_KIND_CLUSTER,
    Kind.ORGANIZATION: pb.RECORD_KIND_ORGANIZATION,
}


class LedgerClient:
    """Behaves as `LedgerQueries`, `LedgerStatuses` and `LedgerAudits` of `app.ports` say."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._stub = rpc.LedgerQueryServiceStub(channel)
        self._timeout_s = timeout_s
        self._past_turns = FairTurns(
            "Too many questions about the past at once",
            at_once=_PAST_AT_ONCE,
            waiting=_PAST_WAITING,
            reason="TOO_MANY_PAST_QUESTIONS",
            retry_after_ms=_PAST_RETRY_MS,
        )

    async def deployment(
        self,
        deployment_id: str,
        owner_id: str = "",
        min_sequence: int = 0,
        moment: Moment | None = None,
    ) -> AsOf[DeploymentView]:
        request = pb.QueryDeploymentRequest(
            deployment_id=deployment_id,
            owner_id=owner_id,
            min_sequence=min_sequence,
            as_of=moment_to_pb(moment),
        )
        async with self._patience(moment) as timeout_s:
            try:
                answer = await self._stub.QueryDeployment(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise _error(error) from error
        return AsOf(deployment_from_pb(answer.deployment), answer.as_of_sequence)

    async def deployments(
        self, query: DeploymentQuery, owner_id: str = ""
    ) -> AsOf[Page[DeploymentView]]:
        request = pb.QueryDeploymentsRequest(
            owner_id=owner_id,
            statuses=[
                deployments_pb2.DeploymentStatus.ValueType(status) for status in query.statuses
            ],
            name_contains=query.name_contains,
            created_after=timestamp_to_pb(query.created_after_us),
            created_before=timestamp_to_pb(query.created_before_us),
            cluster_id=query.cluster_id,
            sort_by=_SORTS[query.sort_by],
            ascending=query.ascending,
            limit=query.limit,
            offset=query.offset,
            min_sequence=query.min_sequence,
            as_of=moment_to_pb(query.moment),
        )
        async with self._patience(query.moment) as timeout_s:
            try:
                answer = await self._stub.QueryDeployments(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise _error(error) from error
        items = tuple(deployment_from_pb(deployment) for deployment in answer.deployments)
        return AsOf(Page(items, answer.total_size), answer.as_of_sequence)

    async def node(
        self, node: str, min_sequence: int = 0, moment: Moment | None = None
    ) -> AsOf[NodeView]:
        request = pb.QueryNodeRequest(
            node=node, min_sequence=min_sequence, as_of=moment_to_pb(moment)
        )
        async with self._patience(moment) as timeout_s:
            try:
                answer = await self._stub.QueryNode(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise _error(error) from error
        return AsOf(node_from_pb(answer.node), answer.as_of_sequence)

    async def nodes(
        self, limit: int, offset: int, min_sequence: int = 0, moment: Moment | None = None
    ) -> AsOf[Page[NodeView]]:
        request = pb.QueryNodesRequest(
            limit=limit, offset=offset, min_sequence=min_sequence, as_of=moment_to_pb(moment)
        )
        async with self._patience(moment) as timeout_s:
            try:
                answer = await self._stub.QueryNodes(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise _error(error) from error
        items = tuple(node_from_pb(node) for node in answer.nodes)
        return AsOf(Page(items, answer.total_size), answer.as_of_sequence)

    async def node_replicas(
        self, node: str, owner_id: str, moment: Moment
    ) -> AsOf[Page[NodeReplica]]:
        request = pb.QueryNodeReplicasRequest(
            node=node, owner_id=owner_id, as_of=moment_to_pb(moment)
        )
        async with self._patience(moment) as timeout_s:
            try:
                answer = await self._stub.QueryNodeReplicas(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise _error(error) from error
        return node_replicas_from_pb(answer.found)

    async def cluster_status(
        self, cluster_id: int, moment: Moment, min_sequence: int = 0
    ) -> AsOf[ClusterStatus]:
        request = pb.QueryClusterStatusRequest(
            cluster_id=cluster_id, min_sequence=min_sequence, as_of=moment_to_pb(moment)
        )
        async with self._patience(moment) as timeout_s:
            try:
                answer = await self._stub.QueryClusterStatus(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise _error(error) from error
        return cluster_status_from_pb(answer.status)

    @asynccontextmanager
    async def _patience(self, moment: Moment | None) -> AsyncIterator[float]:
        """Yield how long an answer may take, in seconds; about the past, once it is one's turn.

        Raises:
            ResourceExhaustedError: too many questions about the past wait already.
            UnavailableError: those of others take too long.
        """
        if moment is None:
            yield self._timeout_s
            return
        async with self._past_turns.turn(asker_id(), PAST_TURN_S):
            yield PAST_ANSWER_S

    async def rederive(self, first: int, last: int) -> AsyncGenerator[RederivedPart]:
        wanted = audit_service_pb2.VerifyDecisionsRequest(from_sequence=first, to_sequence=last)
        try:
            # Without a deadline: it takes as long as the log is.
            async for answer in self._stub.RederiveRounds(pb.RederiveRoundsRequest(wanted=wanted)):
                yield rederived_from_pb(answer.progress)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error

    async def compare(self, policy: Policy, first: int, last: int) -> AsyncGenerator[ComparedPart]:
        wanted = audit_service_pb2.CompareReplayRequest(
            policy=policy_to_pb(policy), from_sequence=first, to_sequence=last
        )
        try:
            # Without a deadline, as above.
            async for answer in self._stub.CompareRounds(pb.CompareRoundsRequest(wanted=wanted)):
                yield compared_from_pb(answer.progress)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error

    async def record(self, kind: Kind, id_: str, after: int, upto: int) -> AsyncGenerator[Recorded]:
        request = pb.QueryRecordRequest(
            kind=_KINDS[kind], id=id_, after_sequence=after, to_sequence=upto
        )
        try:
            # Without a deadline: a record may be long.
            async for answer in self._stub.QueryRecord(request):
                writer = Writer(answer.service, answer.instance)
                stored = StoredCommit(answer.sequence, writer, answer.data)
                void = frozenset(answer.void_indexes)
                yield Recorded(answer.sequence, stored, frozenset(answer.indexes), void)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error

    async def verify_log(self, first: int, last: int) -> AsyncGenerator[VerifiedPart]:
        wanted = audit_service_pb2.VerifyLogRequest(from_sequence=first, to_sequence=last)
        try:
            # Without a deadline, as above.
            async for answer in self._stub.CheckLog(pb.CheckLogRequest(wanted=wanted)):
                yield verified_from_pb(answer.progress)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error

    async def signed_log(self, *, fresh: bool = False) -> SignedLog:
        request = pb.SignLogRequest(fresh=fresh)
        try:
            answer = await self._stub.SignLog(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error
        return signed_from_pb(answer.checkpoint)

    async def prove(self, sequence: int) -> CommitProof:
        request = pb.QueryProofRequest(sequence=sequence)
        try:
            answer = await self._stub.QueryProof(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error
        return proof_from_pb(answer.proof)

    async def statuses(self) -> AsyncGenerator[AsOf[tuple[StatusRecord, ...]]]:
        try:
            async for part in self._stub.ReadStatuses(
                pb.ReadStatusesRequest(), timeout=_WHOLE_TIMEOUT_S
            ):
                records = tuple([status_record_from_pb(record) for record in part.records])
                yield AsOf(records, part.as_of_sequence)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error

    async def changes(
        self, after: int, upto: int
    ) -> AsyncGenerator[tuple[list[StatusChange], int]]:
        request = pb.QueryStatusChangesRequest(after_sequence=after, to_sequence=upto)
        try:
            # Without a deadline: who watches may be slow.
            async for part in self._stub.QueryStatusChanges(request):
                changes = [
                    status_change_from_pb(each.deployment_id, each.change) for each in part.changes
                ]
                yield changes, part.complete_to_sequence
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error

    async def status(self) -> LedgerStatus:
        try:
            answer = await self._stub.GetLedgerStatus(
                pb.GetLedgerStatusRequest(), timeout=self._timeout_s
            )
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error
        return LedgerStatus(
            answer.as_of_sequence,
            answer.log_sequence,
            answer.commits_kept,
            scrub_from_pb(answer.scrub),
        )

    async def scrub(self) -> LogScrub:
        try:
            answer = await self._stub.QueryScrub(pb.QueryScrubRequest(), timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error
        return scrub_from_pb(answer.scrub)


def _error(error: grpc.aio.AioRpcError) -> FogError:
    """Return what a user is told: the service's own words only where they are meant for users."""
    return as_outage(error, "ledger")
