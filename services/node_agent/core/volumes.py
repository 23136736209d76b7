"""What is said of volumes that hold more than was asked for.

It is the last part of the reason of a replica that runs; what its probe says comes before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fogbank.domain.containers import Volume
from fogbank.domain.states import ReplicaState
from services.node_agent.core.kept import ObservationKept
from services.node_agent.core.stimuli import VolumesMeasured
from services.node_agent.core.workings import Workings

_OVER = "over its size: "
_GIB = 1 << 30


def over_size(volumes: Iterable[Volume], held_bytes: Mapping[str, int]) -> str:
    """Name the volumes that hold more than was asked for, for people; empty if none does.

    Args:
        volumes: those of one deployment.
        held_bytes: what each was found to hold at least, by its name; those left out are not known.
    """
    return ", ".join(
        f"volume {each.name} holds {_gib(held)} GiB of {each.size_gib} GiB asked for"
        for each in volumes
        if (held := held_bytes.get(each.name, 0)) > each.size_gib * _GIB
    )


def _gib(held_bytes: int) -> str:
    """Return an amount in GiB, rounded up: what is too much must not look as if it were not."""
    return f"{-(-held_bytes * 10 // _GIB) / 10:.1f}"


def with_volumes(reason: str, before: str) -> str:
    """Return a new reason of a running replica, with what the one before says of its volumes."""
    return _joined(reason, before.partition(_OVER)[2])


def note_volumes(workings: Workings, stimulus: VolumesMeasured, now_us: int) -> None:
    """Report it if another is said of the volumes of a running replica than before."""
    record = workings.kept.replicas.get(stimulus.replica_id)
    seen = record.observed if record is not None else None
    if seen is None or (seen.restart_count, seen.state) != (
        stimulus.restart_count,
        ReplicaState.RUNNING,
    ):
        return
    of_probe = seen.reason.partition(_OVER)[0].removesuffix("; ")
    reason = _joined(of_probe, stimulus.over)
    if reason != seen.reason:
        # As with health, it is found again after a crash, and not told more often than that.
        seen = replace(seen, reason=reason, observed_at_us=now_us)
        workings.keep(ObservationKept(seen, reported=False), urgent=False)


def _joined(of_probe: str, over: str) -> str:
    return "; ".join(part for part in (of_probe, f"{_OVER}{over}" if over else "") if part)
