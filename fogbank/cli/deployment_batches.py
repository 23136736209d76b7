"""Handing in deployments: one by a call of its own, many in batches, each with its own outcome."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc

from fogbank.cli.connection import PATIENCE_S, Connection
from fogbank.cli.failures import CommandError
from fogbank.cli.lookups import all_deployments, get_deployment, sequence_of
from fogbank.cli.output import console, counted
from fogbank.cli.rpc_errors import explain, worded
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployments_pb2

# A batch is small enough for the bar to move, and for the largest request that gateways take.
_BATCH = 100
_BATCH_BYTES = 1 << 20
# So many go by too quickly for a bar to be of use.
_FEW = 100
_PAUSE_S = 0.5
# How the reasons end of what comes right by itself.
_AWAY = "_UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A deployment that was accepted, and the log sequence that holds it."""

    name: str
    id: str
    sequence: int


def hand_in(
    connection: Connection, requests: Sequence[pb.CreateDeploymentRequest]
) -> tuple[list[Accepted], list[CommandError]]:
    """Hand in deployments; return what was accepted, in their order, and why others were not.

    Where a caller made too many requests it waits for as long as it is told to. Of many, one call
    that fails ends it, and what was accepted before is returned all the same.

    Raises:
        grpc.RpcError: the call for a single one failed.
    """
    if len(requests) == 1:
        made = connection.call(connection.deployments.CreateDeployment, requests[0]).deployment
        return [Accepted(made.spec.name, made.id, sequence_of(made.etag))], []
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

    accepted: list[Accepted] = []
    refused: list[CommandError] = []
    with Progress(
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console(errors=True),
        transient=True,
        disable=len(requests) <= _FEW or not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("", total=len(requests))
        for batch in _batches(requests):
            try:
                outcomes = _outcomes(connection, batch)
            except grpc.RpcError as error:
                left = len(requests) - len(accepted) - len(refused)
                told = explain(error)
                whole = f"{counted(left, 'deployment')} from {batch[0].spec.name} on"
                refused.append(CommandError(f"{whole}: {told.message}", hint=told.hint))
                break
            for request, outcome in zip(batch, outcomes, strict=True):
                name = request.spec.name or "one without a name"
                if outcome.error_reason:
                    problem = worded(outcome.error_message, outcome.error_reason)
                    refused.append(CommandError(f"{name}: {problem.message}", hint=problem.hint))
                else:
                    accepted.append(Accepted(name, outcome.deployment_id, outcome.sequence))
            progress.advance(task, len(batch))
    return accepted, refused


def shown(connection: Connection, accepted: Sequence[Accepted]) -> list[deployments_pb2.Deployment]:
    """Return accepted deployments as lists show them; of many those deleted since are left out."""
    if len(accepted) == 1:
        return [get_deployment(connection, accepted[0].id, accepted[0].sequence)]
    sequence = max((each.sequence for each in accepted), default=0)
    listing = all_deployments(connection, pb.ListDeploymentsRequest(min_sequence=sequence))
    there = {each.id: each for each in listing}
    return [there[each.id] for each in accepted if each.id in there]


def _batches(
    requests: Sequence[pb.CreateDeploymentRequest],
) -> Iterator[list[pb.CreateDeploymentRequest]]:
    batch: list[pb.CreateDeploymentRequest] = []
    size = 0
    for request in requests:
        more = request.ByteSize()
        if batch and (len(batch) == _BATCH or size + more > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += more
    yield batch


def _outcomes(
    connection: Connection, batch: Sequence[pb.CreateDeploymentRequest]
) -> list[pb.CreateOutcome]:
    """Hand in a batch, and those of it again for a while for which a part of the server is away."""
    outcomes: dict[int, pb.CreateOutcome] = {}
    left = list(range(len(batch)))
    ends_at = time.monotonic() + PATIENCE_S
    while left:
        asked = pb.CreateDeploymentsRequest(requests=[batch[index] for index in left])
        answer = connection.call_in_turn(connection.deployments.CreateDeployments, asked)
        outcomes |= zip(left, answer.outcomes, strict=True)
        left = [index for index in left if outcomes[index].error_reason.endswith(_AWAY)]
        if left and time.monotonic() > ends_at:
            break
        time.sleep(_PAUSE_S if left else 0)
    return [outcomes[index] for index in range(len(batch))]
