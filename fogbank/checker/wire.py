"""Bytes to messages: which event types there are, and who may write them."""

from __future__ import annotations

from google.protobuf.message import DecodeError, Message

from fogbank.checker.report import Findings, Place, Rule
from fogbank.v1 import facts_pb2, log_pb2, rounds_pb2

GATEWAY = "gateway"
SCHEDULER = "scheduler"
MAX_COMMIT_BYTES = 512 * 1024

ROUND = "fogbank.v1.RoundDecided"
_MESSAGES: dict[str, type[Message]] = {
    "fogbank.v1.OrganizationCreated": facts_pb2.OrganizationCreated,
    "fogbank.v1.ClusterCreated": facts_pb2.ClusterCreated,
    "fogbank.v1.ClusterQuotaSet": facts_pb2.ClusterQuotaSet,
    "fogbank.v1.OrganizationQuotaSet": facts_pb2.OrganizationQuotaSet,
    "fogbank.v1.MembershipSet": facts_pb2.MembershipSet,
    "fogbank.v1.PolicyActivated": facts_pb2.PolicyActivated,
    "fogbank.v1.DeploymentCreated": facts_pb2.DeploymentCreated,
    "fogbank.v1.DeploymentScaled": facts_pb2.DeploymentScaled,
    "fogbank.v1.DeploymentUpdated": facts_pb2.DeploymentUpdated,
    "fogbank.v1.DeploymentDeleted": facts_pb2.DeploymentDeleted,
    "fogbank.v1.NodeConnected": facts_pb2.NodeConnected,
    "fogbank.v1.NodeCapacityChanged": facts_pb2.NodeCapacityChanged,
    "fogbank.v1.NodeLoadChanged": facts_pb2.NodeLoadChanged,
    "fogbank.v1.NodeReported": facts_pb2.NodeReported,
    "fogbank.v1.NodeCordoned": facts_pb2.NodeCordoned,
    "fogbank.v1.NodeUncordoned": facts_pb2.NodeUncordoned,
    "fogbank.v1.NodeDraining": facts_pb2.NodeDraining,
    "fogbank.v1.NodeRemoved": facts_pb2.NodeRemoved,
    "fogbank.v1.JoinTokenCreated": facts_pb2.JoinTokenCreated,
    "fogbank.v1.JoinTokenRevoked": facts_pb2.JoinTokenRevoked,
    "fogbank.v1.NodeJoined": facts_pb2.NodeJoined,
    "fogbank.v1.NodeIdentityRevoked": facts_pb2.NodeIdentityRevoked,
    "fogbank.v1.CopiedIdentityRefused": facts_pb2.CopiedIdentityRefused,
    "fogbank.v1.RebalanceRequested": facts_pb2.RebalanceRequested,
    ROUND: rounds_pb2.RoundDecided,
}


def decode_commit(sequence: int, data: bytes, findings: Findings) -> log_pb2.Commit | None:
    """Return a commit's message; None if there is none to be had."""
    place = Place(sequence)
    if len(data) > MAX_COMMIT_BYTES:
        findings.add(place, Rule.SIZE, f"{len(data)} bytes, more than {MAX_COMMIT_BYTES}")
    try:
        commit = log_pb2.Commit.FromString(data)
    except DecodeError as error:
        findings.add(place, Rule.UNDECODABLE, f"the bytes are no commit: {error}")
        return None
    if not commit.events:
        findings.add(place, Rule.EMPTY_COMMIT, "the commit holds no event")
        return None
    return commit


def decode_event(
    place: Place, envelope: log_pb2.EventEnvelope, findings: Findings
) -> Message | None:
    """Return an event's message; None if it is unknown (fine if it says so) or broken."""
    kind = _MESSAGES.get(envelope.type)
    if kind is None:
        if not envelope.may_ignore:
            findings.add(place, Rule.UNKNOWN_EVENT, f"no reader knows {envelope.type!r}")
        return None
    try:
        return kind.FromString(envelope.payload)
    except DecodeError as error:
        findings.add(place, Rule.UNDECODABLE, f"the payload is no {envelope.type}: {error}")
        return None
