"""What no fact may say, whoever wrote it: values that readers of the log could not bear.

These bounds are wide. What users may ask for is narrower and checked at the door; this keeps a
slip there from stopping every reader of the log for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from fogbank.domain import events as ev
from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.node import Fingerprint
from fogbank.domain.policy_bounds import MAX_AMOUNT, problems
from fogbank.domain.resources import Resources
from fogbank.domain.tenancy import Quota

MAX_REPLICAS = 10_000
# All replicas of a deployment are placed by one event or none is, and so many fit in it for sure,
# whichever devices they get: more could be asked for, and would never be placed.
MOST_REPLICAS_ASKED = 3_000
# As everybody writes them; other ways of writing them are borne too.
_USUAL_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MAX_MOVES = 1_000_000
MAX_JOIN_USES = 1_000_000
DIGEST_BYTES = 32
# The last microsecond of the year 9999.
MAX_INSTANT_US = 253_402_300_799_999_999


def malformed(event_id: str, event: ev.Event) -> bool:
    """Tell whether a fact says what no fact may say."""
    bearable = _BEARABLE.get(type(event))
    return bearable is not None and not bearable(event_id, event)


def _joinable(event_id: str, event: ev.JoinTokenCreated | ev.NodeJoined) -> bool:
    if isinstance(event, ev.NodeJoined):
        return _is_uuid(event.node_id) and len(event.key_digest) == DIGEST_BYTES
    return (
        _is_uuid(event_id)
        and len(event.secret_digest) == DIGEST_BYTES
        and 1 <= event.max_uses <= MAX_JOIN_USES
        and 0 <= event.expires_at_us <= MAX_INSTANT_US
    )


def _is_uuid(text: str) -> bool:
    if _USUAL_UUID.fullmatch(text):
        return True
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _askable(spec: DeploymentSpec) -> bool:
    rules = spec.disconnect
    return (
        _bearable(spec.resources)
        and _countable(spec.replicas)
        and 0 <= rules.lost_after_ms <= MAX_AMOUNT
        and 0 <= rules.stop_on_client_after_ms <= MAX_AMOUNT
    )


def _countable(replicas: int) -> bool:
    return 0 <= replicas <= MAX_REPLICAS


def _bearable(amounts: Resources) -> bool:
    return (
        0 <= amounts.cpu_millicores <= MAX_AMOUNT
        and 0 <= amounts.memory_mib <= MAX_AMOUNT
        and 0 <= amounts.storage_gib <= MAX_AMOUNT
        and 0 <= amounts.gpu_thousandths <= MAX_AMOUNT
    )


def _limits(quota: Quota) -> bool:
    return all(limit is None or 0 <= limit <= MAX_AMOUNT for limit in quota.limits)


def _offers(fingerprint: Fingerprint) -> bool:
    return _bearable(fingerprint.capacity) and _bearable(fingerprint.allocatable)


def _within_moves(event: ev.RebalanceRequested) -> bool:
    numbers = (event.budget, event.min_gain - 1, event.at_once - 1)
    return all(0 <= number < MAX_MOVES for number in numbers)


# By type: most facts are of those that can say nothing of the kind.
_BEARABLE: dict[type, Callable[[str, Any], bool]] = {
    ev.DeploymentCreated: lambda event_id, event: _is_uuid(event_id) and _askable(event.spec),
    ev.DeploymentUpdated: lambda _, event: _askable(event.spec),
    ev.DeploymentScaled: lambda _, event: _countable(event.replicas),
    ev.NodeConnected: lambda _, event: _is_uuid(event.node_id) and _offers(event.fingerprint),
    ev.NodeCapacityChanged: lambda _, event: _offers(event.fingerprint),
    ev.NodeDraining: lambda _, event: 0 <= event.deadline_us <= MAX_INSTANT_US,
    ev.ClusterCreated: lambda _, event: _limits(event.quota),
    ev.ClusterQuotaSet: lambda _, event: _limits(event.quota),
    ev.OrganizationQuotaSet: lambda _, event: _limits(event.quota),
    ev.MembershipSet: lambda _, event: _is_uuid(event.user_id),
    ev.JoinTokenCreated: _joinable,
    ev.NodeJoined: _joinable,
    ev.RebalanceRequested: lambda _, event: _within_moves(event),
    ev.PolicyActivated: lambda _, event: not problems(event.policy),
}
