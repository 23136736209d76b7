"""The log's integrity between domain and contract."""

from __future__ import annotations

from fogbank.codec.views import timestamp_from_pb, timestamp_to_pb
from fogbank.domain.log_evidence import (
    CommitProof,
    LogScrub,
    ScrubFinding,
    SignedLog,
    VerifiedPart,
)
from fogbank.v1 import audit_service_pb2 as pb


def verified_to_pb(part: VerifiedPart) -> pb.VerifyLogResponse:
    """Return how far a check got as a message."""
    return pb.VerifyLogResponse(
        checked=part.checked,
        total=part.total,
        first_bad_sequence=part.bad_sequence,
        problem=part.problem,
        checkpoints=part.checkpoints,
    )


def verified_from_pb(message: pb.VerifyLogResponse) -> VerifiedPart:
    """Return what a message says of a check."""
    return VerifiedPart(
        message.total,
        message.checked,
        message.checkpoints,
        message.first_bad_sequence,
        message.problem,
    )


def scrub_to_pb(scrub: LogScrub) -> pb.GetLogScrubResponse:
    """Return what a scrub came to as a message."""
    return pb.GetLogScrubResponse(
        began_at=timestamp_to_pb(scrub.began_at_us),
        ended_at=timestamp_to_pb(scrub.ended_at_us),
        commits=scrub.commits,
        findings=[
            pb.ScrubFinding(sequence=found.sequence, problem=found.problem)
            for found in scrub.findings
        ],
    )


def scrub_from_pb(message: pb.GetLogScrubResponse) -> LogScrub:
    """Return what a message says of a scrub."""
    return LogScrub(
        timestamp_from_pb(message.began_at),
        timestamp_from_pb(message.ended_at),
        message.commits,
        tuple(ScrubFinding(found.sequence, found.problem) for found in message.findings),
    )


def signed_to_pb(signed: SignedLog) -> pb.GetLogCheckpointResponse:
    """Return a signed checkpoint as a message."""
    return pb.GetLogCheckpointResponse(note=signed.note, verifier_keys=signed.verifier_keys)


def signed_from_pb(message: pb.GetLogCheckpointResponse) -> SignedLog:
    """Return the signed checkpoint of a message."""
    return SignedLog(message.note, tuple(message.verifier_keys))


def proof_to_pb(proof: CommitProof) -> pb.ProveCommitResponse:
    """Return a proof as a message."""
    return pb.ProveCommitResponse(
        note=proof.note,
        sequence=proof.sequence,
        service=proof.service,
        instance=proof.instance,
        data=proof.data,
        path=proof.path,
    )


def proof_from_pb(message: pb.ProveCommitResponse) -> CommitProof:
    """Return the proof of a message."""
    return CommitProof(
        message.note,
        message.sequence,
        message.service,
        message.instance,
        message.data,
        tuple(message.path),
    )
