"""The beginning of a fleet's log."""

from __future__ import annotations

import structlog

from fogbank.codec import encode_commit, encode_envelope
from fogbank.domain.policy import Policy
from fogbank.log.port import EventLog, StaleAppendError
from fogbank.runtime.clock import Clock
from fogbank.runtime.crash_points import crash_point
from services.gateway.core.genesis import genesis

_log = structlog.get_logger(__name__)


async def ensure_genesis(log: EventLog, clock: Clock, fleet: str, policy: Policy) -> bool:
    """Write the first commit if the log is empty; True if this call wrote it.

    Several gateways may try at once: one of them wins, and they would all write the same.

    Raises:
        LogUnavailableError: the log does not answer.
    """
    if await log.last_sequence() > 0:
        return False
    now_us = clock.now_us()
    envelopes = [encode_envelope(envelope) for envelope in genesis(fleet, policy, now_us)]
    crash_point("gateway.before-genesis-append")
    try:
        await log.append(encode_commit(now_us, envelopes), expected_last=0)
    except StaleAppendError:
        return False
    crash_point("gateway.after-genesis-append")
    _log.info("fleet begun", fleet=fleet, policy=policy.title)
    return True
