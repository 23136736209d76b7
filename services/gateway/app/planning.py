"""Dry runs and explanations: the scheduler's answers, for those who may have them."""

from __future__ import annotations

from dataclasses import replace

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.errors import NotFoundError
from fogbank.domain.explanations import DeploymentExplanation, DeploymentPlan
from fogbank.domain.position import sequence_of
from fogbank.domain.views import AsOf
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deployments import Deployments
from services.gateway.app.ports import SchedulerQueries
from services.gateway.app.principal import Principal


class Planning:
    """The use cases of plans and explanations; nothing here is written down.

    All raise UnavailableError when no scheduler answers: it alone holds the state to tell from; and
    ResourceExhaustedError when too many want such an answer.
    """

    def __init__(
        self, deployments: Deployments, command_log: CommandLog, scheduler: SchedulerQueries
    ) -> None:
        self._deployments = deployments
        self._commands = command_log
        self._scheduler = scheduler

    async def plan(self, principal: Principal, spec: DeploymentSpec) -> AsOf[DeploymentPlan]:
        """Say what a deployment would lead to; the caller's own commands count already.

        Of what would be evicted the caller learns the names that they may see.

        Raises:
            NotFoundError, PermissionDeniedError: the caller may not deploy in its cluster.
        """
        await self._deployments.check_new(principal, spec)
        planned = await self._scheduler.plan(spec, self._commands.last_write(principal.user_id))
        preempted = tuple(
            replace(each, deployment_name=self._name(principal, each.deployment_id))
            for each in planned.value.preempted
        )
        return AsOf(replace(planned.value, preempted=preempted), planned.as_of_sequence)

    def _name(self, principal: Principal, deployment_id: str) -> str:
        """Return a deployment's name; empty where the caller may not see it."""
        try:
            return self._deployments.show(principal, deployment_id).spec.name
        except NotFoundError:
            return ""

    async def explain(
        self, principal: Principal, deployment_id: str
    ) -> AsOf[DeploymentExplanation]:
        """Say where a deployment stands and why.

        Raises:
            NotFoundError: no such deployment, or not the caller's.
        """
        deployment = await self._deployments.own(principal, deployment_id)
        return await self._scheduler.explain(deployment.id, sequence_of(deployment.version))
