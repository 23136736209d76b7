"""DeploymentService: messages to use cases and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import grpc.aio

from fogbank.codec.explanations import deployment_explanation_to_pb, plan_to_pb
from fogbank.codec.rollouts import rollout_to_pb
from fogbank.codec.values import spec_to_pb
from fogbank.codec.views import deployment_to_pb, moment_from_pb, status_change_to_pb
from fogbank.domain.errors import FogError, InvalidArgumentError
from fogbank.domain.states import DeploymentStatus
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployment_service_pb2_grpc as rpc
from fogbank.v1 import deployments_pb2
from services.gateway.app.deployments import Accepted, CreateAsk, Deployments, Progress
from services.gateway.app.goals import Goal
from services.gateway.app.limits import Limits
from services.gateway.app.organizations import Organizations
from services.gateway.app.planning import Planning
from services.gateway.app.ports import DeploymentQuery
from services.gateway.app.principal import current_principal
from services.gateway.app.updates import Updates
from services.gateway.core.asks import check_replicas
from services.gateway.core.bounds import GRPC_BOUNDS, Amount, Bounds
from services.gateway.grpc_api.asks import change_of, checked_spec, create_ask, expected_version
from services.gateway.grpc_api.paging import page_offset, page_size, page_token

Context = grpc.aio.ServicerContext[Any, Any]

MAX_BATCH = 1_000
# Messages of a submitting stream that are worked on at once.
_MESSAGES_IN_FLIGHT = 8
# A wait ends so long before the call's deadline, so that the answer gets through.
_ANSWER_MARGIN_S = 0.25
_LONGEST_WAIT_S = 55.0
_SHORTEST_INTERVAL_S = 0.1

_GOALS = {pb.WAIT_FOR_SCHEDULED: Goal.SCHEDULED, pb.WAIT_FOR_RUNNING: Goal.RUNNING}
_AT_ONCE = frozenset({pb.WAIT_FOR_UNSPECIFIED, pb.WAIT_FOR_ACCEPTED})


class DeploymentService(rpc.DeploymentServiceServicer):
    """Answers for deployments. The caller is known (see `authentication`)."""

    def __init__(
        self,
        deployments: Deployments,
        planning: Planning,
        updates: Updates,
        limits: Limits,
        bounds: Bounds = GRPC_BOUNDS,
        *,
        organizations: Organizations,
    ) -> None:
        """`limits` count what the door doesn't: each deployment of a batch."""
        self._deployments = deployments
        self._updates = updates
        self._planning = planning
        self._organizations = organizations
        self._limits = limits
        self._bounds = bounds

    async def CreateDeployment(
        self, request: pb.CreateDeploymentRequest, context: Context
    ) -> pb.CreateDeploymentResponse:
        """Accept a deployment, and wait as long as asked to."""
        principal = current_principal()
        if request.wait_for not in _AT_ONCE and request.wait_for not in _GOALS:
            raise InvalidArgumentError.of_field("wait_for", f"is not known: {request.wait_for}")
        ask = create_ask(request, self._bounds)
        accepted = await self._deployments.create(
            principal, ask.spec, ask.env, ask.request_id, validate_only=request.validate_only
        )
        if request.validate_only:
            return pb.CreateDeploymentResponse(deployment=_only_spec(accepted))
        goal = _GOALS.get(request.wait_for)
        if goal is not None:
            await self._deployments.wait_until(
                accepted.deployment_id, goal, _patience_s(context.time_remaining())
            )
        view = self._deployments.show(principal, accepted.deployment_id)
        return pb.CreateDeploymentResponse(deployment=deployment_to_pb(view))

    async def CreateDeployments(
        self, request: pb.CreateDeploymentsRequest, context: Context
    ) -> pb.CreateDeploymentsResponse:
        """Accept many deployments, each with its own outcome."""
        return pb.CreateDeploymentsResponse(outcomes=await self._create_many(request.requests))

    async def SubmitDeployments(
        self, request_iterator: AsyncIterator[pb.SubmitDeploymentsRequest], context: Context
    ) -> AsyncIterator[pb.SubmitDeploymentsResponse]:
        """Accept deployments as they come; one answer to each message, in order."""
        current_principal()
        answers: asyncio.Queue[asyncio.Task[list[pb.CreateOutcome]] | None] = asyncio.Queue()
        room = asyncio.Semaphore(_MESSAGES_IN_FLIGHT)
        reader = asyncio.create_task(self._take_in(request_iterator, answers, room))
        task: asyncio.Task[list[pb.CreateOutcome]] | None = None
        try:
            while (task := await answers.get()) is not None:
                outcomes = await task
                room.release()
                yield pb.SubmitDeploymentsResponse(outcomes=outcomes)
            await reader
        finally:
            reader.cancel()
            while task is not None:
                if not task.cancel() and not task.cancelled():
                    task.exception()  # nobody waits for it any more
                task = None if answers.empty() else answers.get_nowait()

    async def _take_in(
        self,
        requests: AsyncIterator[pb.SubmitDeploymentsRequest],
        answers: asyncio.Queue[asyncio.Task[list[pb.CreateOutcome]] | None],
        room: asyncio.Semaphore,
    ) -> None:
        try:
            async for request in requests:
                await room.acquire()
                answers.put_nowait(asyncio.create_task(self._create_many(request.requests)))
        finally:
            answers.put_nowait(None)

    async def _create_many(
        self, requests: Iterable[pb.CreateDeploymentRequest]
    ) -> list[pb.CreateOutcome]:
        requests = list(requests)
        if len(requests) > MAX_BATCH:
            raise InvalidArgumentError.of_field(
                "requests", f"must be at most {MAX_BATCH}, got {len(requests)}"
            )
        self._limits.more(current_principal(), len(requests) - 1)
        asks = [self._checked(request) for request in requests]
        outcomes = await self._deployments.create_many(current_principal(), asks)
        return [
            _outcome(request.request_id, outcome)
            for request, outcome in zip(requests, outcomes, strict=True)
        ]

    def _checked(self, request: pb.CreateDeploymentRequest) -> CreateAsk | FogError:
        try:
            if request.wait_for not in _AT_ONCE:
                raise InvalidArgumentError.of_field("wait_for", "must be unset or ACCEPTED")
            if request.validate_only:
                raise InvalidArgumentError.of_field("validate_only", "must be unset in a batch")
            return create_ask(request, self._bounds)
        except FogError as error:
            return error

    async def GetDeployment(
        self, request: pb.GetDeploymentRequest, context: Context
    ) -> pb.GetDeploymentResponse:
        """Show one deployment."""
        principal = current_principal()
        found = await self._deployments.get(
            principal,
            request.deployment_id,
            _sequence(request.min_sequence),
            moment_from_pb(request.as_of),
        )
        owner_id, names = found.value.owner_id, dict[str, str]()
        if request.with_owner_name:
            names = await self._organizations.user_names(principal, [owner_id])
        return pb.GetDeploymentResponse(
            deployment=deployment_to_pb(found.value),
            as_of_sequence=found.as_of_sequence,
            owner_name=names.get(owner_id, ""),
        )

    async def ListDeployments(
        self, request: pb.ListDeploymentsRequest, context: Context
    ) -> pb.ListDeploymentsResponse:
        """List deployments, newest first."""
        limit = page_size(request.page_size)
        query_bytes = _query_bytes(request)
        offset = page_offset(request.page_token, query_bytes)
        query = DeploymentQuery(
            statuses=tuple(_status(status) for status in request.statuses),
            name_contains=request.name_contains,
            cluster_id=request.cluster_id,
            limit=limit,
            offset=offset,
            all_owners=request.all_owners,
            min_sequence=_sequence(request.min_sequence),
            moment=moment_from_pb(request.as_of),
        )
        found = await self._deployments.list(current_principal(), query)
        self._limits.listed(current_principal(), len(found.value.items))
        after = offset + len(found.value.items)
        more = found.value.items and after < found.value.total
        return pb.ListDeploymentsResponse(
            deployments=[deployment_to_pb(view) for view in found.value.items],
            next_page_token=page_token(after, query_bytes) if more else "",
            total_size=found.value.total,
            as_of_sequence=found.as_of_sequence,
        )

    async def UpdateDeployment(
        self, request: pb.UpdateDeploymentRequest, context: Context
    ) -> pb.UpdateDeploymentResponse:
        """Change some fields of a deployment; replicas are replaced where that takes new ones."""
        principal = current_principal()
        change = change_of(request)
        accepted = await self._updates.update(
            principal,
            request.deployment_id,
            lambda spec: change.applied(spec, self._bounds),
            change.content,
            env=change.env,
            request_id=request.request_id,
            expected_version=expected_version(request.etag),
            validate_only=request.validate_only,
        )
        if request.validate_only:
            return pb.UpdateDeploymentResponse(deployment=_only_spec(accepted))
        view = self._deployments.show(principal, accepted.deployment_id)
        return pb.UpdateDeploymentResponse(deployment=deployment_to_pb(view))

    async def GetRollout(
        self, request: pb.GetRolloutRequest, context: Context
    ) -> pb.GetRolloutResponse:
        """Say how far the replacement of replicas is."""
        view = await self._updates.rollout(current_principal(), request.deployment_id)
        names = await self._updates.env_names(view.revisions) if request.with_env_names else {}
        return rollout_to_pb(view, names)

    async def RollbackDeployment(
        self, request: pb.RollbackDeploymentRequest, context: Context
    ) -> pb.RollbackDeploymentResponse:
        """Go back to an earlier revision."""
        principal = current_principal()
        if request.to_revision < 0:
            raise InvalidArgumentError.of_field("to_revision", "must be at least 0")
        accepted = await self._updates.undo(
            principal,
            request.deployment_id,
            request.to_revision,
            request.request_id,
            expected_version(request.etag),
        )
        view = self._deployments.show(principal, accepted.deployment_id)
        return pb.RollbackDeploymentResponse(deployment=deployment_to_pb(view))

    async def ScaleDeployment(
        self, request: pb.ScaleDeploymentRequest, context: Context
    ) -> pb.ScaleDeploymentResponse:
        """Change the number of replicas."""
        principal = current_principal()
        replicas = self._bounds.replicas
        check_replicas(request.replicas, Amount("replicas", replicas.low, replicas.high))
        accepted = await self._deployments.scale(
            principal,
            request.deployment_id,
            request.replicas,
            request.request_id,
            expected_version(request.etag),
            validate_only=request.validate_only,
        )
        view = self._deployments.show(principal, accepted.deployment_id)
        return pb.ScaleDeploymentResponse(deployment=deployment_to_pb(view))

    async def DeleteDeployment(
        self, request: pb.DeleteDeploymentRequest, context: Context
    ) -> pb.DeleteDeploymentResponse:
        """Delete a deployment."""
        principal = current_principal()
        accepted = await self._deployments.delete(
            principal,
            request.deployment_id,
            request.request_id,
            expected_version(request.etag),
            validate_only=request.validate_only,
        )
        view = self._deployments.show(principal, accepted.deployment_id)
        return pb.DeleteDeploymentResponse(deployment=deployment_to_pb(view))

    async def PlanDeployment(
        self, request: pb.PlanDeploymentRequest, context: Context
    ) -> pb.PlanDeploymentResponse:
        """Say what a deployment would lead to, and change nothing."""
        principal = current_principal()
        spec = checked_spec(request.spec, self._bounds)
        return plan_to_pb(await self._planning.plan(principal, spec))

    async def ExplainDeployment(
        self, request: pb.ExplainDeploymentRequest, context: Context
    ) -> pb.ExplainDeploymentResponse:
        """Say where a deployment stands and why."""
        told = await self._planning.explain(current_principal(), request.deployment_id)
        return deployment_explanation_to_pb(told)

    async def WatchDeployments(
        self, request: pb.WatchDeploymentsRequest, context: Context
    ) -> AsyncIterator[pb.WatchDeploymentsResponse]:
        """Follow changes of status."""
        interval_s = _interval_s(request)
        watch = self._deployments.watch(
            current_principal(),
            _sequence(request.after_sequence),
            tuple(request.deployment_ids),
            # Half, because one that just missed its turn comes with the next.
            None if interval_s is None else interval_s / 2,
        )
        loop = asyncio.get_running_loop()
        sent_s = loop.time()
        async with aclosing(watch) as items:
            async for progress in items:
                messages = _changes(progress)
                if messages or (interval_s and loop.time() - sent_s >= interval_s / 2):
                    sent_s = loop.time()
                    for message in messages or [
                        pb.WatchDeploymentsResponse(sequence=progress.sequence)
                    ]:
                        yield message


def _changes(progress: Progress) -> list[pb.WatchDeploymentsResponse]:
    """Return the messages of some changes; a sequence is complete with its last one only."""
    last = len(progress.changes) - 1
    return [
        pb.WatchDeploymentsResponse(
            deployment_id=change.deployment_id,
            change=status_change_to_pb(change),
            sequence=(
                progress.sequence
                if index == last
                else min(change.sequence, progress.changes[index + 1].sequence - 1)
            ),
        )
        for index, change in enumerate(progress.changes)
    ]


def _outcome(request_id: str, outcome: Accepted | FogError) -> pb.CreateOutcome:
    if isinstance(outcome, FogError):
        return pb.CreateOutcome(
            request_id=request_id, error_reason=outcome.reason, error_message=outcome.message
        )
    return pb.CreateOutcome(
        request_id=request_id,
        deployment_id=outcome.deployment_id,
        sequence=outcome.sequence,
    )


def _only_spec(accepted: Accepted) -> deployments_pb2.Deployment:
    return deployments_pb2.Deployment(
        spec=spec_to_pb(accepted.spec), status=deployments_pb2.DEPLOYMENT_STATUS_PENDING
    )


def _patience_s(remaining_s: float | None) -> float:
    if remaining_s is None:
        return _LONGEST_WAIT_S
    return max(0.0, min(remaining_s - _ANSWER_MARGIN_S, _LONGEST_WAIT_S))


def _sequence(number: int) -> int:
    if number < 0:
        raise InvalidArgumentError(f"a sequence must not be negative, got {number}")
    return number


def _status(number: int) -> DeploymentStatus:
    try:
        return DeploymentStatus(number)
    except ValueError:
        names = [member.name for member in DeploymentStatus]
        raise InvalidArgumentError.of_field(
            "statuses", f"must be of {names}, got {number}"
        ) from None


def _query_bytes(request: pb.ListDeploymentsRequest) -> bytes:
    query = pb.ListDeploymentsRequest()
    query.CopyFrom(request)
    query.ClearField("page_size")
    query.ClearField("page_token")
    query.ClearField("min_sequence")
    return query.SerializeToString(deterministic=True)


def _interval_s(request: pb.WatchDeploymentsRequest) -> float | None:
    if not request.HasField("progress_interval"):
        return None
    interval = request.progress_interval
    return max(interval.seconds + interval.nanos / 1e9, _SHORTEST_INTERVAL_S)
