"""Commands on organizations and clusters into the log."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.runtime.clock import Clock
from services.gateway.app.command_log import CommandLog
from services.gateway.app.principal import Principal
from services.gateway.core import tenancy as core
from services.gateway.core.asks import check_request_id


class TenancyCommands:
    """Answers repeats first, then lets the event be made, and submits it."""

    def __init__(self, command_log: CommandLog, clock: Clock) -> None:
        self._commands = command_log
        self._clock = clock

    async def submit(
        self,
        principal: Principal,
        method: str,
        request_id: str,
        content: Mapping[str, Any],
        make: Callable[[], Awaitable[core.TenancyEvent]],
    ) -> int:
        """Return the position at which a command counts, or at which the first of its id does.

        `content` is what was asked, as the caller put it. `make` checks rights and returns the
        event; it isn't called for a repeat, which would often be refused by now.

        Raises:
            FogError: what `make` raises, or what the fold refuses it for.
            InvalidArgumentError: the request id is no good.
            AlreadyExistsError: the request id was used with another content.
            UnavailableError: the log is down.
        """
        check_request_id(request_id)
        request_id = request_id or str(uuid4())
        user_id, now_us = principal.user_id, self._clock.now_us()

        def envelope(event: core.TenancyEvent) -> EventEnvelope:
            return core.envelope(user_id, method, request_id, event, content=content, now_us=now_us)

        answered = self._commands.answered(envelope(ev.OrganizationCreated("")))
        if answered is not None:
            return answered
        return await self._commands.submit(principal, envelope(await make()))
