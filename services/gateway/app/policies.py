"""Showing and choosing the policy that decisions are made by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import uuid4

from fogbank.domain.named_policies import NAMED_POLICIES
from fogbank.domain.policy import Policy
from fogbank.domain.position import sequence_of
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.fold import FleetFold
from services.gateway.app.principal import Principal
from services.gateway.core import policies as rules


@dataclass(frozen=True, slots=True)
class Activated:
    """A policy with its version, and the log sequence from which on it counts; 0 for never."""

    policy: Policy
    sequence: int


class Policies:
    """The use cases of policies. Everybody who is signed in may look; administrators activate."""

    def __init__(self, fold: FleetFold, command_log: CommandLog, clock: Clock) -> None:
        self._fold = fold
        self._command_log = command_log
        self._clock = clock

    def list(self) -> tuple[Policy, ...]:
        """Return the active policy, then the known ones of other names."""
        active = self._fold.fleet.facts.policy
        others = [policy for name, policy in NAMED_POLICIES.items() if name != active.name]
        return (active, *others)

    def active(self) -> Activated:
        """Return the active policy."""
        facts = self._fold.fleet.facts
        return Activated(facts.policy, sequence_of(facts.policy_position))

    async def activate(
        self,
        principal: Principal,
        wanted: Policy | str,
        request_id: str = "",
        *,
        validate_only: bool = False,
    ) -> Activated:
        """Make a policy, or the known one of a name, the one to decide by.

        Raises:
            PermissionDeniedError: the caller is no administrator.
            NotFoundError: no policy of that name is known.
            InvalidArgumentError: names each field that is wrong.
            UnavailableError: the log is down, or isn't read in time.
        """
        principal.require_admin()
        policy = rules.named(wanted) if isinstance(wanted, str) else wanted
        rules.check(policy)
        if validate_only:
            return Activated(replace(policy, version=0), 0)
        envelope = rules.activate_envelope(
            principal.user_id, request_id or str(uuid4()), policy, self._clock.now_us()
        )
        position = await self._command_log.submit(principal, envelope)
        version = self._fold.fleet.facts.policy_positions.index(position) + 1
        return Activated(replace(policy, version=version), sequence_of(position))
