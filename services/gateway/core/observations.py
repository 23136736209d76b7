"""What an agent may say of a replica."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fogbank.domain.bounds import MAX_INSTANT_US
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.reasons import MAX_REASON_BYTES, cut_reason
from services.gateway.core.container_bounds import MAX_PORT, MAX_PORTS

# So many go in one report; agents send at most 256.
MAX_OBSERVATIONS = 1_024
MAX_ID = 256
# All reasons of a report, half of what a commit has room for.
_REASONS_BYTES = 256 * MAX_REASON_BYTES

_FIELD = "report.observations"
_MOST = {
    "restart_count": (1 << 31) - 1,
    "started_at_us": MAX_INSTANT_US,
    "observed_at_us": MAX_INSTANT_US,
}


def require_bearable(count: int) -> None:
    """Refuse a report of too many observations.

    Raises:
        InvalidArgumentError: more than `MAX_OBSERVATIONS`.
    """
    if count > MAX_OBSERVATIONS:
        sentence = f"may be at most {MAX_OBSERVATIONS}, got {count}"
        raise InvalidArgumentError.of_field(_FIELD, sentence)


def checked(seen: ReplicaObservation) -> ReplicaObservation:
    """Return an observation that makes sense.

    Raises:
        InvalidArgumentError: it says what readers of the log could not bear.
    """
    for name in ("replica_id", "container_id"):
        if len(text := getattr(seen, name)) > MAX_ID:
            raise _wrong(name, f"must be at most {MAX_ID} characters, got {len(text)}")
    for name, most in _MOST.items():
        if not 0 <= (number := getattr(seen, name)) <= most:
            raise _wrong(name, f"must be between 0 and {most}, got {number}")
    if len(seen.ports) > MAX_PORTS:
        raise _wrong("ports", f"may be at most {MAX_PORTS}, got {len(seen.ports)}")
    for port in seen.ports:
        for name in ("number", "host_port"):
            if not 0 <= (number := getattr(port, name)) <= MAX_PORT:
                raise _wrong(f"ports.{name}", f"must be between 0 and {MAX_PORT}, got {number}")
    return seen


def fitting(report: Iterable[ReplicaObservation]) -> tuple[ReplicaObservation, ...]:
    """Return the observations of a report, with reasons that a commit has room for.

    They are cut, not refused: an agent can't take back a report that it once numbered, and would
    send it again and again.
    """
    observations = tuple(report)
    most_bytes = min(MAX_REASON_BYTES, _REASONS_BYTES // max(len(observations), 1))
    return tuple(replace(seen, reason=cut_reason(seen.reason, most_bytes)) for seen in observations)


def _wrong(name: str, sentence: str) -> InvalidArgumentError:
    return InvalidArgumentError.of_field(f"{_FIELD}.{name}", sentence)
