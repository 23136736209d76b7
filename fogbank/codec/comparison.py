"""What a comparison of policies came to, to the public API's messages and back."""

from __future__ import annotations

from fogbank.domain.comparison import ComparedPart, Difference, Fate
from fogbank.domain.rederived import Span
from fogbank.v1 import audit_service_pb2 as pb


def compared_to_pb(part: ComparedPart) -> pb.CompareReplayResponse:
    """Return the message of a part."""
    span = part.span
    return pb.CompareReplayResponse(
        replayed=max(0, part.sequence - span.begun_after),
        total=span.last - span.begun_after,
        actual=part.actual,
        alternative=part.alternative,
        sequence=part.sequence,
        first_sequence=span.first,
        last_sequence=span.last,
        begun_after=span.begun_after,
        deployments=part.deployments,
        differing=part.differing,
        differences=[
            pb.DeploymentDifference(
                deployment_id=each.deployment_id,
                name=each.name,
                actual=_fate_to_pb(each.actual),
                alternative=_fate_to_pb(each.alternative),
            )
            for each in part.differences
        ],
    )


def compared_from_pb(message: pb.CompareReplayResponse) -> ComparedPart:
    """Return the part that a message holds."""
    return ComparedPart(
        Span(message.first_sequence, message.last_sequence, message.begun_after),
        message.sequence,
        dict(message.actual),
        dict(message.alternative),
        message.deployments,
        message.differing,
        tuple(
            Difference(
                each.deployment_id,
                each.name,
                _fate_from_pb(each.actual),
                _fate_from_pb(each.alternative),
            )
            for each in message.differences
        ),
    )


def _fate_to_pb(fate: Fate) -> pb.DeploymentFate:
    return pb.DeploymentFate(
        standing=fate.standing, nodes=fate.nodes, evicted=fate.evicted, waited_ms=fate.waited_ms
    )


def _fate_from_pb(message: pb.DeploymentFate) -> Fate:
    return Fate(message.standing, tuple(message.nodes), message.evicted, message.waited_ms)
