"""What led to a part of an event: of a round some outcomes, of a report some observations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fogbank.domain import events as ev
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.observations import ReplicaObservation


def causes_of_part(envelope: EventEnvelope, part: ev.Event) -> tuple[int, ...]:
    """Return the causes that belong to a part of an envelope's event, in the part's order."""
    whole, causes = envelope.event, envelope.causes
    if not causes:
        return ()
    if isinstance(whole, ev.RoundDecided) and isinstance(part, ev.RoundDecided):
        return tuple(_causes(whole.outcomes, causes, part.outcomes))
    if isinstance(whole, ev.NodeReported) and isinstance(part, ev.NodeReported):
        return tuple(_causes(whole.observations, causes, part.observations))
    return causes


def _causes(
    all_of_them: Sequence[ev.Outcome | ReplicaObservation],
    causes: Sequence[int],
    kept: Iterable[ev.Outcome | ReplicaObservation],
) -> Iterator[int]:
    """Yield the cause of each that was kept; they stand in the order of all."""
    pairs = iter(zip(all_of_them, causes, strict=False))
    for each in kept:
        for original, cause in pairs:
            if _is_of(each, original):
                yield cause
                break


def _is_of(part: ev.Outcome | ReplicaObservation, whole: ev.Outcome | ReplicaObservation) -> bool:
    if isinstance(part, ev.DeploymentPlaced) and isinstance(whole, ev.DeploymentPlaced):
        # Of others' placements only what they evict may be shown.
        return (part.deployment_id, part.version) == (whole.deployment_id, whole.version)
    return part == whole
