"""LedgerQueryService over gRPC: messages to queries and answers back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

import grpc
import grpc.aio

from fogbank.codec.audit import rederived_to_pb
from fogbank.codec.clusters import cluster_status_to_pb
from fogbank.codec.comparison import compared_to_pb
from fogbank.codec.log_evidence import proof_to_pb, scrub_to_pb, signed_to_pb, verified_to_pb
from fogbank.codec.node_replicas import node_replicas_to_pb
from fogbank.codec.policies import policy_from_pb
from fogbank.codec.views import (
    deployment_to_pb,
    moment_from_pb,
    node_to_pb,
    status_change_to_pb,
    status_record_to_pb,
    timestamp_from_pb,
)
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.views import Moment
from fogbank.v1 import ledger_query_service_pb2 as pb
from fogbank.v1 import ledger_query_service_pb2_grpc as pb_grpc
from fogbank.v1.moments_pb2 import Moment as PbMoment
from services.ledger.app.comparisons import Comparisons
from services.ledger.app.evidence import Evidence
from services.ledger.app.log_verification import LogVerification
from services.ledger.app.ports import DeploymentFilter, DeploymentSort
from services.ledger.app.queries import LedgerQueries, Wait
from services.ledger.app.records import Records
from services.ledger.app.replays import DecisionReplays
from services.ledger.app.scrub import Scrub
from services.ledger.app.snapshots import Snapshots
from services.ledger.core.touched import ThingKind, numbered

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["LedgerQueryService"].full_name

Context = grpc.aio.ServicerContext[Any, Any]

# The answer's own way to the caller; who waits longer gets nothing but a broken deadline.
_WAY_BACK_S = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """The use cases that answer."""

    queries: LedgerQueries
    snapshots: Snapshots
    replays: DecisionReplays
    comparisons: Comparisons
    records: Records
    evidence: Evidence
    verification: LogVerification
    scrub: Scrub


class LedgerQueryServicer(pb_grpc.LedgerQueryServiceServicer):
    """Answers from the tables. `longest_wait_s` bounds the wait of calls without a deadline."""

    def __init__(self, answers: Answers, longest_wait_s: float) -> None:
        self._answers = answers
        self._longest_wait_s = longest_wait_s

    async def QueryDeployment(
        self, request: pb.QueryDeploymentRequest, context: Context
    ) -> pb.QueryDeploymentResponse:
        found = await self._answers.queries.deployment(
            request.deployment_id,
            request.owner_id,
            self._wait(request.min_sequence, context),
            moment_from_pb(request.as_of),
        )
        return pb.QueryDeploymentResponse(
            deployment=deployment_to_pb(found.value), as_of_sequence=found.as_of_sequence
        )

    async def QueryDeployments(
        self, request: pb.QueryDeploymentsRequest, context: Context
    ) -> pb.QueryDeploymentsResponse:
        found = await self._answers.queries.deployments(
            _filter(request),
            self._wait(request.min_sequence, context),
            moment_from_pb(request.as_of),
        )
        return pb.QueryDeploymentsResponse(
            deployments=[deployment_to_pb(view) for view in found.value.items],
            total_size=found.value.total,
            as_of_sequence=found.as_of_sequence,
        )

    async def QueryNode(
        self, request: pb.QueryNodeRequest, context: Context
    ) -> pb.QueryNodeResponse:
        found = await self._answers.queries.node(
            request.node,
            self._wait(request.min_sequence, context),
            moment_from_pb(request.as_of),
        )
        return pb.QueryNodeResponse(
            node=node_to_pb(found.value), as_of_sequence=found.as_of_sequence
        )

    async def QueryNodes(
        self, request: pb.QueryNodesRequest, context: Context
    ) -> pb.QueryNodesResponse:
        found = await self._answers.queries.nodes(
            request.limit,
            request.offset,
            self._wait(request.min_sequence, context),
            moment_from_pb(request.as_of),
        )
        return pb.QueryNodesResponse(
            nodes=[node_to_pb(view) for view in found.value.items],
            total_size=found.value.total,
            as_of_sequence=found.as_of_sequence,
        )

    async def QueryNodeReplicas(
        self, request: pb.QueryNodeReplicasRequest, context: Context
    ) -> pb.QueryNodeReplicasResponse:
        found = await self._answers.queries.node_replicas(
            request.node, request.owner_id, _moment(request.as_of)
        )
        return pb.QueryNodeReplicasResponse(found=node_replicas_to_pb(found))

    async def QueryClusterStatus(
        self, request: pb.QueryClusterStatusRequest, context: Context
    ) -> pb.QueryClusterStatusResponse:
        found = await self._answers.queries.cluster_status(
            request.cluster_id,
            self._wait(request.min_sequence, context),
            _moment(request.as_of),
        )
        return pb.QueryClusterStatusResponse(status=cluster_status_to_pb(found))

    async def GetLedgerStatus(
        self, request: pb.GetLedgerStatusRequest, context: Context
    ) -> pb.GetLedgerStatusResponse:
        status = await self._answers.queries.status()
        return pb.GetLedgerStatusResponse(
            as_of_sequence=status.position,
            log_sequence=status.log_sequence,
            commits_kept=status.commits_kept,
            as_of_digest=status.digest,
            scrub=scrub_to_pb(self._answers.scrub.last),
        )

    async def ReadSnapshot(
        self, request: pb.ReadSnapshotRequest, context: Context
    ) -> AsyncIterator[pb.ReadSnapshotResponse]:
        async with aclosing(self._answers.snapshots.newest()) as parts:
            async for part in parts:
                yield pb.ReadSnapshotResponse(
                    sequence=part.position,
                    engine=part.engine,
                    structure=part.structure,
                    digest=part.digest,
                    pieces=part.pieces,
                )

    async def ReadStatuses(
        self, request: pb.ReadStatusesRequest, context: Context
    ) -> AsyncIterator[pb.ReadStatusesResponse]:
        async with aclosing(self._answers.queries.statuses()) as parts:
            async for part in parts:
                yield pb.ReadStatusesResponse(
                    as_of_sequence=part.as_of_sequence,
                    records=[status_record_to_pb(record) for record in part.value],
                )

    async def QueryStatusChanges(
        self, request: pb.QueryStatusChangesRequest, context: Context
    ) -> AsyncIterator[pb.QueryStatusChangesResponse]:
        wait = self._wait(request.to_sequence, context)
        async with aclosing(self._answers.queries.changes(request.after_sequence, wait)) as parts:
            async for changes, complete_to in parts:
                yield pb.QueryStatusChangesResponse(
                    changes=[
                        pb.DeploymentStatusChange(
                            deployment_id=change.deployment_id, change=status_change_to_pb(change)
                        )
                        for change in changes
                    ],
                    complete_to_sequence=complete_to,
                )

    async def RederiveRounds(
        self, request: pb.RederiveRoundsRequest, context: Context
    ) -> AsyncIterator[pb.RederiveRoundsResponse]:
        wanted = request.wanted
        parts = self._answers.replays.rederive(wanted.from_sequence, wanted.to_sequence)
        async with aclosing(parts), aclosing(rederived_to_pb(parts)) as messages:
            async for message in messages:
                yield pb.RederiveRoundsResponse(progress=message)

    async def QueryRecord(
        self, request: pb.QueryRecordRequest, context: Context
    ) -> AsyncIterator[pb.QueryRecordResponse]:
        kind, id_ = _thing(request)
        found = self._answers.records.of(kind, id_, request.after_sequence, request.to_sequence)
        async with aclosing(found):
            async for touched in found:
                commit = touched.commit
                yield pb.QueryRecordResponse(
                    sequence=commit.sequence,
                    service=commit.service,
                    instance=commit.instance,
                    data=commit.data,
                    indexes=touched.indexes,
                    void_indexes=sorted(touched.void),
                )

    async def CompareRounds(
        self, request: pb.CompareRoundsRequest, context: Context
    ) -> AsyncIterator[pb.CompareRoundsResponse]:
        wanted = request.wanted
        parts = self._answers.comparisons.compare(
            policy_from_pb(wanted.policy), wanted.from_sequence, wanted.to_sequence
        )
        async with aclosing(parts):
            async for part in parts:
                yield pb.CompareRoundsResponse(progress=compared_to_pb(part))

    async def CheckLog(
        self, request: pb.CheckLogRequest, context: Context
    ) -> AsyncIterator[pb.CheckLogResponse]:
        wanted = request.wanted
        parts = self._answers.verification.verify(wanted.from_sequence, wanted.to_sequence)
        async with aclosing(parts):
            async for part in parts:
                yield pb.CheckLogResponse(progress=verified_to_pb(part))

    async def QueryScrub(
        self, request: pb.QueryScrubRequest, context: Context
    ) -> pb.QueryScrubResponse:
        return pb.QueryScrubResponse(scrub=scrub_to_pb(self._answers.scrub.last))

    async def SignLog(self, request: pb.SignLogRequest, context: Context) -> pb.SignLogResponse:
        signed = await self._answers.evidence.signed_log(fresh=request.fresh)
        return pb.SignLogResponse(checkpoint=signed_to_pb(signed))

    async def QueryProof(
        self, request: pb.QueryProofRequest, context: Context
    ) -> pb.QueryProofResponse:
        proof = await self._answers.evidence.prove(request.sequence)
        return pb.QueryProofResponse(proof=proof_to_pb(proof))

    def _wait(self, sequence: int, context: Context) -> Wait:
        # None without a deadline, whatever the stubs say.
        remaining_s = cast("float | None", context.time_remaining())
        if remaining_s is None:
            return Wait(sequence, self._longest_wait_s)
        return Wait(sequence, min(remaining_s - _WAY_BACK_S, self._longest_wait_s))


def _moment(message: PbMoment) -> Moment:
    moment = moment_from_pb(message)
    if moment is None:
        raise InvalidArgumentError.of_field("as_of", "must be a sequence or a time")
    return moment


def _filter(request: pb.QueryDeploymentsRequest) -> DeploymentFilter:
    return DeploymentFilter(
        owner_id=request.owner_id,
        statuses=tuple(_status(number) for number in request.statuses),
        name_contains=request.name_contains,
        created_after_us=timestamp_from_pb(request.created_after),
        created_before_us=timestamp_from_pb(request.created_before),
        cluster_id=request.cluster_id,
        sort_by=_sort(request.sort_by),
        ascending=request.ascending,
        limit=request.limit,
        offset=request.offset,
    )


_KINDS = {
    pb.RECORD_KIND_DEPLOYMENT: ThingKind.DEPLOYMENT,
    pb.RECORD_KIND_NODE: ThingKind.NODE,
    pb.RECORD_KIND_USER: ThingKind.USER,
    pb.RECORD_KIND_CLUSTER: ThingKind.CLUSTER,
    pb.RECORD_KIND_ORGANIZATION: ThingKind.ORGANIZATION,
}


def _thing(request: pb.QueryRecordRequest) -> tuple[ThingKind, str]:
    kind = _KINDS.get(request.kind)
    if kind is None:
        raise InvalidArgumentError.of_field("kind", f"must be a known kind, was {request.kind}")
    try:
        if kind in {ThingKind.CLUSTER, ThingKind.ORGANIZATION}:
            return kind, numbered(int(request.id))
        return kind, str(UUID(request.id))
    except ValueError:
        raise InvalidArgumentError.of_field(
            "id", f"must be a UUID, or a number of a cluster or organization, was {request.id!r}"
        ) from None


def _status(number: int) -> DeploymentStatus:
    try:
        return DeploymentStatus(number)
    except ValueError:
        raise InvalidArgumentError.of_field(
            "statuses", f"must be known statuses, one was {number}"
        ) from None


def _sort(number: int) -> DeploymentSort:
    try:
        return DeploymentSort(number or DeploymentSort.CREATED_AT)
    except ValueError:
        raise InvalidArgumentError.of_field(
            "sort_by", f"must be a known order, was {number}"
        ) from None


def add_to_server(answers: Answers, server: grpc.aio.Server, longest_wait_s: float) -> None:
    """Make a server answer LedgerQueryService."""
    pb_grpc.add_LedgerQueryServiceServicer_to_server(
        LedgerQueryServicer(answers, longest_wait_s), server
    )
