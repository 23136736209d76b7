"""What may be asked for replicas whose node is cut off."""

from __future__ import annotations

from collections.abc import Iterator

from fogbank.domain.deployment import STOP_GRACE_MS, DisconnectRules
from services.gateway.core.bounds import shown_number

MIN_LOST_MS = 100
# Answers come each 0.2 s and take a round through the broker: below this a hiccup stops replicas.
MIN_STOP_MS = 1_000
MAX_DISCONNECT_MS = 7 * 24 * 3600 * 1_000
LOST_AFTER = "disconnect.lost_after_ms"
STOP_AFTER = "disconnect.stop_on_client_after_ms"


def disconnect_problems(
    rules: DisconnectRules, policy_ms: int | None = None
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with rules: a field each, and what was allowed and given.

    Rules without a time of their own are compared with the policy's `policy_ms`, where known.
    """
    bounded = True
    for field, value, least in (
        (LOST_AFTER, rules.lost_after_ms, MIN_LOST_MS),
        (STOP_AFTER, rules.stop_on_client_after_ms, MIN_STOP_MS),
    ):
        if value and not least <= value <= MAX_DISCONNECT_MS:
            bounded = False
            allowed = f"0 for the default, or {least} to {MAX_DISCONNECT_MS}"
            yield field, f"must be {allowed}, got {shown_number(value)}"
    lost_ms = rules.lost_after_ms or policy_ms
    stopped_ms = rules.stopped_after_ms
    if bounded and rules.replace and lost_ms is not None and stopped_ms and stopped_ms >= lost_ms:
        whose = "lost_after_ms" if rules.lost_after_ms else "the policy's lost_after_ms"
        problem = (
            f"with the {STOP_GRACE_MS} that a container has to end must be below {whose} "
            f"{lost_ms}, got {rules.stop_on_client_after_ms}: else a slot could run twice"
        )
        yield STOP_AFTER, problem
