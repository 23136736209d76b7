"""How containers ended, whether they are started again, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from signal import Signals

from fogbank.domain.observations import ReplicaObservation
from fogbank.domain.states import ReplicaState, RestartPolicy
from services.node_agent.core.replica import FoundContainer

_US_PER_S = 1_000_000
# Exit codes above are those of processes that a signal ended, by the shells' habit.
_SIGNALLED = 128
# What is said of a container whose exit code nobody saw.
UNKNOWN_EXIT_CODE = -1


@dataclass(frozen=True, slots=True)
class AgentPolicy:
    """The agent's patience. Instants and spans are in microseconds.

    At most `restart_limit` restarts within `restart_window_us`, each `restart_delay_us` after the
    end. An image that can't be fetched is tried `prepare_retries` times more, the pause doubling
    up to the longest, and jittered.
    `report_window` reports may be unacknowledged at once, `report_size` observations go in one:
    what is seen meanwhile collects, so a slow gateway gets larger reports, not more of them.
    Changes of a running replica's health are reported once in `health_pause_us`.
    """

    restart_limit: int = 2
    restart_window_us: int = 30 * 60 * _US_PER_S
    restart_delay_us: int = 15 * _US_PER_S
    prepare_retries: int = 2
    prepare_retry_delay_us: int = 1 * _US_PER_S
    prepare_longest_pause_us: int = 300 * _US_PER_S
    stop_retry_delay_us: int = 5 * _US_PER_S
    report_window: int = 2
    report_size: int = 256
    ack_patience_us: int = 60 * _US_PER_S
    health_pause_us: int = 1 * _US_PER_S


@dataclass(frozen=True, slots=True)
class End:
    """How a container ended; `why` says for people what the exit code doesn't.

    It was `interrupted` if the host ended it by its own end: no failure of the container, whatever
    its exit code, and no success either.
    """

    exit_code: int
    why: str = ""
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an end means; unless it is `final`, a restart follows, mostly after a delay."""

    state: ReplicaState
    final: bool
    reason: str


def end_in_words(exit_code: int) -> str:
    """Say how a container ended, with the signal's name where it was one (128 and its number)."""
    try:
        return f"ended with exit code {exit_code} ({Signals(exit_code - _SIGNALLED).name})"
    except ValueError:
        return f"ended with exit code {exit_code}"


def runs_on(observed: ReplicaObservation, found: FoundContainer) -> bool:
    """Tell whether a container runs that was seen before, or is of a later start."""
    return found.running and found.restart_count >= observed.restart_count


def end_found(
    observed: ReplicaObservation, found: FoundContainer | None, *, host_restarted: bool
) -> End | None:
    """Return how a container ended that was starting or ran when it was last seen.

    None if it runs, or if nobody saw it begin: then it is yet to be started. What ended with the
    host may have been asked to, politely, and its exit code says nothing.

    Args:
        observed: what was seen last.
        found: what the runtime has of the replica now.
        host_restarted: whether the host did so since.
    """
    if found is not None and runs_on(observed, found):
        return None
    ended = found if found and found.restart_count == observed.restart_count else None
    if ended is None and observed.state is not ReplicaState.RUNNING:
        return None
    if host_restarted:
        return End(UNKNOWN_EXIT_CODE, "interrupted: its host restarted", interrupted=True)
    if ended is not None:
        return End(ended.exit_code)
    return End(UNKNOWN_EXIT_CODE, "the container was gone when the agent came back")


def verdict(
    policy: AgentPolicy,
    restart: RestartPolicy,
    end: End,
    *,
    restarts: Sequence[int],
    now_us: int,
) -> Verdict:
    """Judge a container that ended unasked.

    Args:
        policy: limits and delays.
        restart: what the deployment's author wants.
        end: how it ended; its exit code is not 0 when it never came up or nobody knows.
        restarts: instants of the restarts that count so far.
        now_us: the instant of the end.
    """
    if end.exit_code == 0 and restart is not RestartPolicy.ALWAYS:
        return Verdict(ReplicaState.COMPLETE, final=True, reason="")
    why = end.why or end_in_words(end.exit_code)
    if restart is RestartPolicy.NEVER:
        return Verdict(ReplicaState.FAILED, final=True, reason=why)
    if end.interrupted:
        return Verdict(ReplicaState.FAILED, final=False, reason=f"{why}; starting again")
    # Those dated later are from before the clock was set back.
    recent = sum(1 for at_us in restarts if now_us - policy.restart_window_us < at_us <= now_us)
    if recent >= policy.restart_limit:
        minutes = policy.restart_window_us / (60 * _US_PER_S)
        return Verdict(
            ReplicaState.FAILED,
            final=True,
            reason=f"{why}; restarted {recent} times within {minutes:g} min, giving up",
        )
    return Verdict(
        ReplicaState.FAILED,
        final=False,
        reason=f"{why}; starting again in {policy.restart_delay_us / _US_PER_S:g} s",
    )
