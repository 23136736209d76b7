"""Updating deployments, following their rollouts, going back to earlier revisions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.errors import (
    AbortedError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from fogbank.domain.facts import DeploymentFact
from fogbank.domain.good_revisions import needed_revisions
from fogbank.domain.position import sequence_of
from fogbank.domain.revisions import Revision, with_replicas_of
from fogbank.domain.rollouts import RolloutView, revision_before, rollout_view
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deployments import Accepted, Deployments
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import SealedEnvironments
from services.gateway.app.principal import Principal
from services.gateway.core import commands
from services.gateway.core.asks import check_request_id
from services.gateway.core.bounds import shown_number

# How often an update without an etag is made anew on what somebody else changed meanwhile.
_TRIES = 5

# What a deployment's spec and the key of its environment become.
_Changed = Callable[[DeploymentFact], tuple[DeploymentSpec, str]]


class Updates:
    """The use cases of updates. An update is on a version that was read; the fold judges it.

    One without an expected version is made anew, under an id of its own, if another command came
    in between; a repeat of its request goes the same way and gets the same answer.
    """

    def __init__(
        self,
        deployments: Deployments,
        fold: FleetFold,
        command_log: CommandLog,
        environments: SealedEnvironments,
        clock: Clock,
    ) -> None:
        self._deployments = deployments
        self._fold = fold
        self._commands = command_log
        self._environments = environments
        self._clock = clock

    async def update(
        self,
        principal: Principal,
        deployment_id: str,
        applied: Callable[[DeploymentSpec], DeploymentSpec],
        content: Mapping[str, Any],
        *,
        env: Mapping[str, str] | None = None,
        request_id: str = "",
        expected_version: int = 0,
        validate_only: bool = False,
    ) -> Accepted:
        """Change a deployment; its replicas are replaced by and by where that takes new ones.

        `applied` returns the changed spec, checked; `content` says what was asked, so that a
        repeat can be told. Without `env` the environment stays. Into another cluster a caller
        moves a deployment with the rights to deploy in both.

        Raises:
            InvalidArgumentError: what it comes to is no good.
            NotFoundError, PermissionDeniedError: as `Deployments.changeable`; or of the cluster.
            FailedPreconditionError: it is deleted.
            AbortedError: its version is another one than expected.
            AlreadyExistsError, UnavailableError: as `Deployments.create`.
        """
        env_key = None if env is None else self._environments.key(env)

        def changed(deployment: DeploymentFact) -> tuple[DeploymentSpec, str]:
            spec = applied(deployment.spec)
            self._deployments.check_spec(spec)
            return spec, deployment.env_key if env_key is None else env_key

        asked = {**content, "deployment_id": deployment_id, "version": expected_version}
        if env_key is not None:
            asked["env_key"] = env_key
        return await self._submit(
            principal,
            deployment_id,
            (commands.UPDATE, request_id, asked),
            changed,
            expected_version,
            env=env,
            validate_only=validate_only,
        )

    async def undo(
        self,
        principal: Principal,
        deployment_id: str,
        to_revision: int = 0,
        request_id: str = "",
        expected_version: int = 0,
    ) -> Accepted:
        """Make replicas what they were in an earlier revision; 0 for the last good other one.

        Raises:
            InvalidArgumentError: the revision is no longer kept, or never was.
            FailedPreconditionError: there is none to go back to; or it is deleted.
            NotFoundError, AbortedError, AlreadyExistsError, UnavailableError: as `update`.
        """

        def changed(deployment: DeploymentFact) -> tuple[DeploymentSpec, str]:
            former = self._earlier(deployment, to_revision)
            return with_replicas_of(deployment.spec, former.spec), former.env_key

        asked = {
            "deployment_id": deployment_id,
            "to_revision": to_revision,
            "version": expected_version,
        }
        deployment = await self._deployments.changeable(principal, deployment_id)
        if not self._has_earlier(deployment, to_revision):
            # Another gateway may have accepted an update that isn't folded here yet.
            await self._commands.catch_up()
        return await self._submit(
            principal,
            deployment_id,
            (commands.ROLLBACK, request_id, asked),
            changed,
            expected_version,
        )

    async def rollout(self, principal: Principal, deployment_id: str) -> RolloutView:
        """Say how far the replacement of a deployment's replicas is.

        Raises:
            NotFoundError: no such deployment, or not the caller's.
        """
        deployment = await self._deployments.own(principal, deployment_id)
        return rollout_view(self._fold.fleet, deployment)

    async def env_names(self, revisions: Sequence[Revision]) -> dict[int, list[str]]:
        """Return the names of the variables of revisions' environments, by number, sorted.

        Values stay here. What can't be read now is left out: nothing else hangs on it.
        """
        keys = {revision.env_key for revision in revisions if revision.env_key}
        try:
            known = await self._environments.unseal(keys)
        except UnavailableError:
            return {}
        return {
            revision.number: sorted(known[revision.env_key])
            for revision in revisions
            if revision.env_key in known
        }

    async def _submit(
        self,
        principal: Principal,
        deployment_id: str,
        asked: tuple[str, str, Mapping[str, Any]],
        changed: _Changed,
        expected_version: int,
        *,
        env: Mapping[str, str] | None = None,
        validate_only: bool = False,
    ) -> Accepted:
        method, request_id, content = asked
        check_request_id(request_id)
        known_as = request_id or str(uuid4())
        deployment = await self._deployments.changeable(principal, deployment_id)
        for tried in range(_TRIES):
            event = ev.DeploymentUpdated(deployment.id, deployment.spec, deployment.env_key)
            envelope = commands.update_envelope(
                principal.user_id,
                method,
                f"{known_as}#{tried}" if tried else known_as,
                event,
                content,
                expected_version=expected_version or deployment.version,
                now_us=self._clock.now_us(),
            )
            try:
                position = self._commands.answered(envelope)
                if position is None:
                    if deployment.deleted:
                        raise commands.deleted(event)
                    if expected_version and expected_version < deployment.version:
                        raise commands.stale()
                    spec, env_key = changed(deployment)
                    if spec.cluster_id != deployment.spec.cluster_id:
                        await self._deployments.check_new(principal, spec)
                    if validate_only:
                        return Accepted(deployment.id, 0, deployment.version, spec)
                    needed = needed_revisions(self._fold.fleet, deployment)
                    made = ev.DeploymentUpdated(deployment.id, spec, env_key, needed)
                    envelope = replace(envelope, event=made)
                    with self._deployments.room.taken_again(deployment, made):
                        if env:
                            await self._environments.seal(env)
                        position = await self._commands.submit(principal, envelope)
            except AbortedError:
                if expected_version:
                    raise
                continue
            return Accepted(deployment.id, sequence_of(position), position, deployment.spec)
        raise commands.stale()

    def _has_earlier(self, deployment: DeploymentFact, number: int) -> bool:
        try:
            self._earlier(deployment, number)
        except (FailedPreconditionError, InvalidArgumentError):
            return False
        return True

    def _earlier(self, deployment: DeploymentFact, number: int) -> Revision:
        if len(deployment.revisions) == 1:
            raise FailedPreconditionError("There is no earlier revision", reason="ONLY_REVISION")
        if number:
            return _kept(deployment, number)
        before = revision_before(self._fold.fleet, deployment)
        if before is None:
            raise FailedPreconditionError(
                "The earlier revisions failed, never ran well, or are what is asked for now: name "
                "the one to go back to",
                reason="NO_EARLIER_REVISION",
            )
        return before


def _kept(deployment: DeploymentFact, number: int) -> Revision:
    earlier = deployment.revisions[:-1]
    for revision in earlier:
        if revision.number == number:
            return revision
    kept = ", ".join(str(revision.number) for revision in earlier)
    gone = f"; revision {number} is no longer kept" if number < deployment.revision else ""
    raise InvalidArgumentError.of_field(
        "to_revision", f"must be one of {kept}, got {shown_number(number)}{gone}"
    )
