"""Creating, changing, showing and following deployments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from uuid import uuid4

import structlog

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import FogError, InvalidArgumentError, ResourceExhaustedError
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.ids import canonical_uuid
from fogbank.domain.position import sequence_of
from fogbank.domain.status import StatusChange
from fogbank.domain.views import AsOf, DeploymentView, Moment, Page
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.goals import Goal
from services.gateway.app.ports import DeploymentQuery, LedgerQueries, SealedEnvironments
from services.gateway.app.principal import Principal
from services.gateway.app.queue_room import QueueRoom
from services.gateway.app.rights import Rights
from services.gateway.app.sealing_all import seal_all
from services.gateway.app.views import deployment_view
from services.gateway.core import commands
from services.gateway.core.asks import check_request_id
from services.gateway.core.disconnecting import disconnect_problems

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted command: its deployment, the log sequence that holds it, the new version.

    `version` is a packed position; `fogbank.domain.position.etag` makes the text of it.
    """

    deployment_id: str
    sequence: int
    version: int
    spec: DeploymentSpec


# What became of each create of a batch.
Outcomes = list[Accepted | FogError]


@dataclass(frozen=True, slots=True)
class CreateAsk:
    """A create of a batch: a checked spec (`core.asks.spec_of`), environment and request id."""

    spec: DeploymentSpec
    env: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Changes of status, complete up to `sequence`; a watcher resumes after that."""

    changes: tuple[StatusChange, ...]
    sequence: int


class Deployments:
    """The use cases of deployments, for all faces.

    Commands are answered when the log holds them and this gateway's fold has judged them; a repeat
    of a request id by the same user with the same content gets the first one's answer. All raise
    UnavailableError with a hint when the log is down; nothing was acknowledged then.
    """

    def __init__(
        self,
        fold: FleetFold,
        command_log: CommandLog,
        ledger: LedgerQueries,
        environments: SealedEnvironments,
        clock: Clock,
        *,
        room: QueueRoom | None = None,
    ) -> None:
        self._fold = fold
        self._commands = command_log
        self._ledger = ledger
        self._environments = environments
        self._clock = clock
        self.room = room or QueueRoom(fold)
        self._rights = Rights(fold, command_log)

    # --- commands -----------------------------------------------------------------------------

    async def create(
        self,
        principal: Principal,
        spec: DeploymentSpec,
        env: Mapping[str, str] | None = None,
        request_id: str = "",
        *,
        validate_only: bool = False,
    ) -> Accepted:
        """Accept a deployment that `core.asks.spec_of` has checked.

        With `validate_only` nothing is written and the answer has an empty id, sequence 0.

        Raises:
            InvalidArgumentError: the request id is no good.
            NotFoundError: no such cluster, or the caller is a stranger there.
            PermissionDeniedError: the caller may only look in that cluster.
            AlreadyExistsError: the request id was used with another content.
            ResourceExhaustedError: too many deployments wait already, in all or of the caller's.
            UnavailableError: the log or the database of sealed environments is down.
        """
        _log.info(
            f"Creating deployment: {spec.name} ({spec.type.name.lower()}) "
            f"for user {principal.user_id}"
        )
        check_request_id(request_id)
        await self.check_new(principal, spec)
        if validate_only:
            return Accepted("", 0, 0, spec)
        envelope = self._envelope(principal, CreateAsk(spec, env or {}, request_id))
        known = self._commands.answered(envelope)
        if known is not None:
            return self._accepted(envelope.event_id, known)
        with self.room.taken(principal.user_id, [spec.cluster_id]):
            if env:
                await self._environments.seal(env)
            position = await self._commands.submit(principal, envelope)
        _log.info(
            f"Created deployment record {envelope.event_id} for {spec.name} "
            f"with {spec.replicas} replicas"
        )
        _log.info(f"Queued deployment {envelope.event_id} for scheduling")
        return self._accepted(envelope.event_id, position)

    async def create_many(
        self, principal: Principal, asks: Sequence[CreateAsk | FogError]
    ) -> Outcomes:
        """Accept many deployments, each with an outcome of its own, in the order of the asks.

        An ask that is an error already stays in its place. What befalls one touches no other.
        """
        clusters = {ask.spec.cluster_id for ask in asks if isinstance(ask, CreateAsk)}
        await self._rights.look_again(principal, clusters)
        drafts = [self._draft(principal, ask) for ask in asks]
        fresh = [
            (index, ask)
            for index, (ask, draft) in enumerate(zip(asks, drafts, strict=True))
            if isinstance(ask, CreateAsk) and self._is_new(draft)
        ]
        with ExitStack() as held:
            try:
                room = self.room.taken(principal.user_id, [ask.spec.cluster_id for _, ask in fresh])
                held.enter_context(room)
                problems = await seal_all(self._environments, [ask.env for _, ask in fresh])
            except ResourceExhaustedError as error:
                problems = [error for _ in fresh]
            for (index, _), problem in zip(fresh, problems, strict=True):
                drafts[index] = problem or drafts[index]
            envelopes = [draft for draft in drafts if isinstance(draft, EventEnvelope)]
            settled = iter(await self._commands.submit_many(principal, envelopes))
        outcomes: Outcomes = []
        for draft in drafts:
            outcome = draft if isinstance(draft, FogError) else next(settled)
            if isinstance(draft, EventEnvelope) and isinstance(outcome, int):
                outcomes.append(self._accepted(draft.event_id, outcome))
            elif isinstance(outcome, FogError):
                outcomes.append(outcome)
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        _log.info(f"Queued {accepted} of {len(asks)} deployments for user {principal.user_id}")
        return outcomes

    async def scale(
        self,
        principal: Principal,
        deployment_id: str,
        replicas: int,
        request_id: str = "",
        expected_version: int = 0,
        *,
        validate_only: bool = False,
    ) -> Accepted:
        """Change the number of replicas; the face has checked it (`core.asks.check_replicas`).

        `expected_version` is a packed position (`fogbank.domain.position.parse_etag`), 0 for any.

        Raises:
            NotFoundError, PermissionDeniedError: as `changeable`.
            FailedPreconditionError: it is deleted.
            AbortedError: its version is another one than expected.
            AlreadyExistsError, UnavailableError: as `create`.
        """
        check_request_id(request_id)
        deployment = await self.changeable(principal, deployment_id)
        envelope = commands.scale_envelope(
            principal.user_id,
            request_id or str(uuid4()),
            deployment.id,
            replicas,
            expected_version=expected_version,
            now_us=self._clock.now_us(),
        )
        return await self._change(
            principal, deployment, envelope, expected_version, validate_only=validate_only
        )

    async def delete(
        self,
        principal: Principal,
        deployment_id: str,
        request_id: str = "",
        expected_version: int = 0,
        *,
        validate_only: bool = False,
    ) -> Accepted:
        """Delete a deployment; its replicas are stopped by and by.

        Raises:
            NotFoundError: no such deployment, not the caller's, or deleted before.
            AbortedError, AlreadyExistsError, UnavailableError: as `scale`.
        """
        check_request_id(request_id)
        deployment = await self.own(principal, deployment_id)
        envelope = commands.delete_envelope(
            principal.user_id,
            request_id or str(uuid4()),
            deployment.id,
            expected_version=expected_version,
            now_us=self._clock.now_us(),
        )
        return await self._change(
            principal, deployment, envelope, expected_version, validate_only=validate_only
        )

    # --- reads --------------------------------------------------------------------------------

    async def get(
        self,
        principal: Principal,
        deployment_id: str,
        min_sequence: int = 0,
        moment: Moment | None = None,
    ) -> AsOf[DeploymentView]:
        """Show one deployment, deleted ones too, as the ledger has it, or had it at a moment.

        That includes what the fleet has forgotten. Without a moment commands and changes of status
        that this gateway knows of are in it: nobody told of one is shown an older state.

        Raises:
            NotFoundError: no such deployment (at that moment), or not the caller's.
            InvalidArgumentError: the log has no such moment.
            UnavailableError: the ledger does not answer in time.
        """
        await self._commands.wait_for(min_sequence)
        if not await self._is_known(deployment_id):
            owner_id = "" if principal.is_admin else principal.user_id
            id_ = canonical_uuid(deployment_id)
            return await self._ledger.deployment(id_, owner_id, min_sequence, moment)
        deployment = self._find(principal, deployment_id)
        if moment is not None:
            return await self._ledger.deployment(deployment.id, moment=moment)
        changes = self._fold.recent_changes(deployment.id)
        told = [sequence_of(deployment.version), *(each.sequence for each in changes[:1])]
        return await self._ledger.deployment(deployment.id, min_sequence=max(min_sequence, *told))

    def show(self, principal: Principal, deployment_id: str) -> DeploymentView:
        """Show one deployment as this gateway's fold has it, without asking the ledger.

        Raises:
            NotFoundError: no such deployment, or not the caller's.
        """
        return deployment_view(self._fold, self._find(principal, deployment_id))

    async def list(
        self, principal: Principal, query: DeploymentQuery
    ) -> AsOf[Page[DeploymentView]]:
        """List deployments as the ledger has them; the caller's own commands are in it.

        With a moment they are listed as they were.

        Raises:
            InvalidArgumentError: the log has no such moment.
            PermissionDeniedError: everybody's were asked for by somebody who may not.
            UnavailableError: the ledger does not answer in time.
        """
        if query.all_owners and not principal.sees_all:
            principal.require_admin()
        wanted = max(query.min_sequence, self._commands.last_write(principal.user_id))
        query = replace(query, min_sequence=wanted)
        return await self._ledger.deployments(query, "" if query.all_owners else principal.user_id)

    async def watch(
        self,
        principal: Principal,
        after_sequence: int = 0,
        ids: Collection[str] = (),
        at_least_every_s: float | None = None,
    ) -> AsyncGenerator[Progress]:
        """Follow changes of status after a log sequence (0: from now on), for ever.

        Yields without gaps, also items without changes, which only say how far all was sent; one
        at least every so many seconds. Without ids: the caller's own deployments.

        Raises:
            NotFoundError: one of the ids is no deployment of the caller's.
            OutOfRangeError: the log does not go as far.
        """
        await self._fold.check_reached(after_sequence, "after_sequence")
        after = after_sequence or self._fold.position
        await self._commands.wait_for(after)
        wanted = frozenset([(await self.own(principal, each)).id for each in ids])
        async for changes, sequence in self._fold.changes_after(after, at_least_every_s):
            yield Progress(
                tuple(
                    change
                    for change in changes
                    if (
                        change.deployment_id in wanted
                        if wanted
                        else self._fold.owner_of(change.deployment_id) == principal.user_id
                    )
                ),
                sequence,
            )

    async def wait_until(self, deployment_id: str, goal: Goal, timeout_s: float) -> bool:
        """Wait until a deployment is as far as wanted, or will never be; False if time runs out."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._fold.status_in(deployment_id, goal.value)
        except TimeoutError:
            return False
        return True

    async def own(self, principal: Principal, deployment_id: str) -> DeploymentFact:
        """Find one deployment; one that another gateway just accepted is waited for.

        Raises:
            NotFoundError: no such deployment, or not the caller's.
        """
        await self._is_known(deployment_id)
        return self._find(principal, deployment_id)

    def check_spec(self, spec: DeploymentSpec) -> None:
        """Check what only the fold knows.

        Raises:
            InvalidArgumentError: its node would stop replicas later than the policy replaces them.
        """
        policy_ms = self._fold.fleet.facts.policy.lost_after_ms
        for name, description in disconnect_problems(spec.disconnect, policy_ms):
            raise InvalidArgumentError.of_field(name, description)

    async def check_new(self, principal: Principal, spec: DeploymentSpec) -> None:
        """Check a new deployment, and the caller's rights in its cluster.

        Raises: as `check_spec` and `Rights.cluster`.
        """
        self.check_spec(spec)
        await self._rights.cluster(principal, spec.cluster_id)

    async def changeable(self, principal: Principal, deployment_id: str) -> DeploymentFact:
        """Find one deployment that the caller may change.

        Raises: as `own` and `Rights.cluster`.
        """
        deployment = await self.own(principal, deployment_id)
        await self._rights.cluster(principal, deployment.spec.cluster_id)
        return deployment

    def check_changeable(self, principal: Principal, deployment_id: str) -> None:
        """Raise as `changeable` does, by what is folded already."""
        deployment = self._find(principal, deployment_id)
        self._rights.check_cluster(principal, deployment.spec.cluster_id)

    # --- within -------------------------------------------------------------------------------

    async def _is_known(self, deployment_id: str) -> bool:
        """Tell whether the fleet has a deployment, when all is folded that the log has by now."""
        id_ = canonical_uuid(deployment_id)
        if id_ not in self._fold.fleet.facts.deployments:
            await self._commands.wait_for(await self._fold.log_end())
        return id_ in self._fold.fleet.facts.deployments

    def _is_new(self, draft: EventEnvelope | FogError) -> bool:
        """Tell whether a command is one that isn't answered yet: it takes room."""
        return isinstance(draft, EventEnvelope) and self._fold.fleet.facts.first(draft) is None

    def _draft(self, principal: Principal, ask: CreateAsk | FogError) -> EventEnvelope | FogError:
        if isinstance(ask, FogError):
            return ask
        try:
            check_request_id(ask.request_id)
            self.check_spec(ask.spec)
            self._rights.check_cluster(principal, ask.spec.cluster_id)
        except FogError as error:
            return error
        return self._envelope(principal, ask)

    def _envelope(self, principal: Principal, ask: CreateAsk) -> EventEnvelope:
        """Return the command; it names the environment, which is kept before it is appended."""
        return commands.create_envelope(
            principal.user_id,
            ask.request_id or str(uuid4()),
            ask.spec,
            self._environments.key(ask.env),
            self._clock.now_us(),
        )

    async def _change(
        self,
        principal: Principal,
        deployment: DeploymentFact,
        envelope: EventEnvelope,
        expected_version: int,
        *,
        validate_only: bool,
    ) -> Accepted:
        known = self._commands.answered(envelope)
        if known is not None:
            return self._accepted(deployment.id, known)
        # What can't come right any more need not be written down.
        if deployment.deleted:
            raise commands.deleted(envelope.event)
        if expected_version and expected_version < deployment.version:
            raise commands.stale()
        if validate_only:
            return Accepted(deployment.id, 0, deployment.version, deployment.spec)
        with self.room.taken_again(deployment, envelope.event):
            return self._accepted(deployment.id, await self._commands.submit(principal, envelope))

    def _accepted(self, deployment_id: str, position: int) -> Accepted:
        deployment = self._fold.fleet.facts.deployments[deployment_id]
        return Accepted(deployment_id, sequence_of(position), position, deployment.spec)

    def _find(self, principal: Principal, deployment_id: str) -> DeploymentFact:
        deployment = self._fold.fleet.facts.deployments.get(canonical_uuid(deployment_id))
        if deployment is None or not (
            principal.is_admin or deployment.owner_id == principal.user_id
        ):
            raise commands.not_found(deployment_id)
        return deployment
