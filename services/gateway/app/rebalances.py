"""Moving replicas to where they are worth more, on request."""

from __future__ import annotations

from uuid import uuid4

import structlog

from fogbank.domain.rebalance_status import rebalance_view
from fogbank.domain.rebalancing import RebalancePlan, RebalanceTerms, RebalanceView
from fogbank.domain.views import AsOf
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.ports import SchedulerQueries
from services.gateway.app.principal import Principal
from services.gateway.core import rebalances as core
from services.gateway.core.asks import check_request_id
from services.gateway.core.service_accounts import Scope

_log = structlog.get_logger(__name__)


class Rebalances:
    """What administrators do about the balance of the whole fleet.

    All raise PermissionDeniedError for others; terms out of their bounds are an
    InvalidArgumentError.
    """

    def __init__(
        self, fold: FleetFold, command_log: CommandLog, scheduler: SchedulerQueries, clock: Clock
    ) -> None:
        self._fold = fold
        self._commands = command_log
        self._scheduler = scheduler
        self._clock = clock

    async def plan(self, principal: Principal, terms: RebalanceTerms) -> AsOf[RebalancePlan]:
        """Say which replicas would move; the caller's own commands count already.

        Raises:
            UnavailableError: no scheduler answers.
        """
        principal.require_admin(Scope.NODES)
        core.check_terms(terms)
        seen = self._commands.last_write(principal.user_id)
        return await self._scheduler.plan_rebalance(terms, seen)

    async def apply(
        self,
        principal: Principal,
        terms: RebalanceTerms,
        request_id: str = "",
        *,
        validate_only: bool = False,
    ) -> RebalanceView:
        """Let schedulers move replicas; a budget of 0 stops what goes on.

        Raises:
            UnavailableError: the log is down, or isn't read in time.
        """
        principal.require_admin(Scope.NODES)
        core.check_terms(terms)
        check_request_id(request_id)
        if not validate_only:
            envelope = core.rebalance_envelope(
                principal.user_id, request_id or str(uuid4()), terms, self._clock.now_us()
            )
            await self._commands.submit(principal, envelope)
            _log.info("rebalance requested", budget=terms.budget, min_gain=terms.min_gain)
        return rebalance_view(self._fold.fleet)

    def status(self, principal: Principal) -> RebalanceView:
        """Say how far the last rebalance is."""
        principal.require_admin(Scope.NODES)
        return rebalance_view(self._fold.fleet)
