"""Errands and what they bring, to messages and back."""

from __future__ import annotations

from fogbank.domain.errands import Brought, Errand, ExecErrand, LogsErrand
from fogbank.v1 import agent_service_pb2 as pb

# How a gateway says in a call of `Serve` that somebody waits for what the agent is to bring: a pair
# of the call's initial metadata. A refusal can come with initial metadata too, without it.
TAKEN = ("fogbank-errand", "taken")


def errand_to_pb(errand: Errand) -> pb.Errand:
    """Return the errand's message."""
    message = pb.Errand(errand_id=errand.errand_id, replica_id=errand.replica_id)
    match errand.kind:
        case LogsErrand(tail, follow, previous):
            message.logs.tail, message.logs.follow = tail, follow
            message.logs.previous = previous
        case ExecErrand(command):
            message.exec.command.extend(command)
    return message


def errand_from_pb(message: pb.Errand) -> Errand | None:
    """Return the message's errand; None for one of a kind that this release doesn't know."""
    match message.WhichOneof("kind"):
        case "logs":
            logs = message.logs
            kind: LogsErrand | ExecErrand = LogsErrand(logs.tail, logs.follow, logs.previous)
        case "exec":
            kind = ExecErrand(tuple(message.exec.command))
        case _:
            return None
    return Errand(message.errand_id, message.replica_id, kind)


def brought_to_pb(piece: Brought) -> pb.ServeRequest:
    """Return a piece's message."""
    if piece.failure:
        return pb.ServeRequest(failure=piece.failure)
    if piece.exit_code is not None:
        return pb.ServeRequest(exit_code=piece.exit_code)
    if piece.is_error:
        return pb.ServeRequest(error_output=piece.data)
    return pb.ServeRequest(output=piece.data)


def brought_from_pb(message: pb.ServeRequest) -> Brought | None:
    """Return the message's piece; None for a message that holds none."""
    match message.WhichOneof("message"):
        case "output":
            return Brought(message.output)
        case "error_output":
            return Brought(message.error_output, is_error=True)
        case "exit_code":
            return Brought(exit_code=message.exit_code)
        case "failure":
            return Brought(failure=message.failure or "it can't be done")
        case _:
            return None
