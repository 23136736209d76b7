"""What audits found, to the public API's messages and back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from fogbank.domain.rederived import Rederived, RederivedPart, Span, Term
from fogbank.v1 import audit_service_pb2 as pb


async def rederived_to_pb(
    parts: AsyncIterator[RederivedPart],
) -> AsyncGenerator[pb.VerifyDecisionsResponse]:
    """Yield the messages of a span's parts, each with what was checked up to there."""
    checked = 0
    async for part in parts:
        checked += part.rounds
        yield _part_to_pb(part, checked)


def _part_to_pb(part: RederivedPart, checked: int) -> pb.VerifyDecisionsResponse:
    different = [each for each in part.found if each.verifiable]
    unverifiable = [each for each in part.found if not each.verifiable]
    return pb.VerifyDecisionsResponse(
        checked=checked,
        total=part.span.rounds,
        different_sequences=[each.sequence for each in different],
        unverifiable_sequences=[each.sequence for each in unverifiable],
        differences=[
            pb.RoundDifference(
                sequence=each.sequence,
                engine=each.engine,
                terms=[
                    pb.RoundTerm(path=term.path, derived=term.derived, logged=term.logged)
                    for term in each.terms
                ],
            )
            for each in different
        ],
        unverifiable_engines=[each.engine for each in unverifiable],
        same=part.same,
        void=part.void,
        sequence=part.sequence,
        first_sequence=part.span.first,
        last_sequence=part.span.last,
        begun_after=part.span.begun_after,
    )


def rederived_from_pb(message: pb.VerifyDecisionsResponse) -> RederivedPart:
    """Return the part that a message holds."""
    different = [
        Rederived(
            each.sequence,
            each.engine,
            tuple(Term(term.path, term.derived, term.logged) for term in each.terms),
        )
        for each in message.differences
    ]
    unverifiable = [
        Rederived(sequence, engine, verifiable=False)
        for sequence, engine in zip(
            message.unverifiable_sequences, message.unverifiable_engines, strict=True
        )
    ]
    return RederivedPart(
        Span(message.first_sequence, message.last_sequence, message.begun_after, message.total),
        message.sequence,
        message.same,
        message.void,
        tuple(sorted(different + unverifiable, key=lambda each: each.sequence)),
    )
