"""Replaying in a process of its own, as the ledger sees it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from fogbank.domain.comparison import ComparedPart
from fogbank.domain.policy import Policy
from fogbank.domain.rederived import RederivedPart, Span
from fogbank.domain.snapshots import Snapshot
from fogbank.domain.views import DeploymentView, NodeView
from services.ledger.adapters import replay_messages as say
from services.ledger.app.own_past import HolderEndedError, OwnedReplica
from services.ledger.app.records import Touched
from services.ledger.app.replays import KeptCommit, ReplayFailedError
from services.ledger.app.standings import Standing
from services.ledger.core.alone import TakenRoom

_log = structlog.get_logger(__name__)

_COMMAND = (sys.executable, "-m", "services.ledger.adapters.replayer")

AnswerT = TypeVar("AnswerT", bound=say.Answer)


class ReplayProcess:
    """One process; one request at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process
        # An exchange whose question was given up halfway.
        self._left: asyncio.Task[bytes] | None = None

    async def begin(self, span: Span, parts: AsyncGenerator[Snapshot]) -> Span:
        """Begin with the snapshot whose parts come, or before the log's first commit."""
        head = await self._send(parts)
        begun = await self._ask(say.BeginSpan(span, head), say.Begun)
        _warn(head, begun.refusal)
        return begun.span

    async def derive(self, commits: Sequence[KeptCommit]) -> RederivedPart:
        """Take in the next commits; ReplayFailedError if they can't be understood."""
        return (await self._ask(say.Derive(tuple(commits)), say.Derived)).part

    async def begin_comparison(
        self, span: Span, policy: Policy, parts: AsyncGenerator[Snapshot]
    ) -> Span:
        """Begin with the snapshot whose parts come, or before the log's first commit."""
        head = await self._send(parts)
        begun = await self._ask(say.BeginComparison(span, policy, head), say.Begun)
        _warn(head, begun.refusal)
        return begun.span

    async def compare(self, commits: Sequence[KeptCommit]) -> ComparedPart:
        """Take in the next commits; ReplayFailedError if they can't be understood."""
        return (await self._ask(say.Compare(tuple(commits)), say.Compared)).part

    async def begin_alone(self) -> None:
        """Hold chosen events from now on."""
        await self._ask(say.BeginAlone(), say.Taken)

    async def take_alone(self, touched: Sequence[Touched], log_times_us: Mapping[int, int]) -> None:
        """Take in some of them; ReplayFailedError if they can't be understood."""
        await self._ask(say.TakeAlone(tuple(touched), dict(log_times_us)), say.Taken)

    async def nodes_of(self, deployment_ids: Sequence[str]) -> Sequence[str]:
        """Return the nodes that some deployments were ever placed on."""
        return (await self._ask(say.ListNodesOf(tuple(deployment_ids)), say.Named)).ids

    async def placed_on(self, node_id: str) -> Sequence[str]:
        """Return the deployments with a replica on a node that has not ended."""
        return (await self._ask(say.ListPlacedAlone(node_id), say.Named)).ids

    async def replicas_on(
        self, node_id: str, deployment_ids: Sequence[str]
    ) -> Sequence[OwnedReplica]:
        """Return the replicas of some deployments on a node that have not ended."""
        request = say.ShowReplicasAlone(node_id, tuple(deployment_ids))
        return (await self._ask(request, say.ShownReplicas)).replicas

    async def show_alone(
        self, standings: Sequence[Standing], *, whole: bool
    ) -> Sequence[DeploymentView]:
        """Return deployments; with their replicas and changes if `whole`."""
        request = say.ShowAlone(tuple(standings), whole)
        return (await self._ask(request, say.ShownDeployments)).views

    async def nodes_alone(self, taken: Mapping[str, TakenRoom]) -> Sequence[NodeView]:
        """Return the nodes that the events tell of, of which so much is taken."""
        return (await self._ask(say.ShowNodesAlone(dict(taken)), say.ShownNodes)).views

    async def _send(self, parts: AsyncGenerator[Snapshot]) -> say.SnapshotHead | None:
        """Send a snapshot's pieces; return the rest of it, None if there is no snapshot."""
        head = None
        async for part in parts:
            await self._ask(say.Pieces(part.pieces), say.Taken)
            head = say.SnapshotHead(part.position, part.engine, part.structure, part.digest)
        return head

    async def _ask(self, request: say.Request, kind: type[AnswerT]) -> AnswerT:
        answer = say.answer_of(await self._exchange(say.framed(request)))
        if isinstance(answer, say.Failed):
            raise ReplayFailedError(answer.why)
        assert isinstance(answer, kind)  # noqa: S101  each request has its own answer
        return answer

    async def _exchange(self, request: bytes) -> bytes:
        if self._left is not None:
            # Nobody waits for that answer any more; the next one is behind it.
            await asyncio.wait([self._left])
        talk = asyncio.create_task(self._talk(request))
        try:
            answer = await asyncio.shield(talk)
        except asyncio.CancelledError:
            self._left = talk
            raise
        self._left = None
        return answer

    async def _talk(self, request: bytes) -> bytes:
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None and answers is not None  # noqa: S101, PT018  they are pipes
        # A loop's transport may take a write to a pipe that is closed for a mistake of ours.
        if requests.is_closing():
            raise _ended()
        try:
            requests.write(request)
            await requests.drain()
            length = await answers.readexactly(say.LENGTH_BYTES)
            return await answers.readexactly(int.from_bytes(length, "big"))
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise _ended() from error

    async def end(self) -> None:
        """End the process, whatever it is doing."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        if self._left is not None:
            await asyncio.gather(self._left, return_exceptions=True)


def _ended() -> HolderEndedError:
    return HolderEndedError("the process that replays the log ended; the ledger's log may say why")


def _warn(head: say.SnapshotHead | None, refusal: str) -> None:
    if refusal and head is not None:
        _log.warning(
            "A snapshot is ignored, the log is replayed from its start",
            sequence=head.position,
            error=refusal,
        )


@asynccontextmanager
async def replay_process() -> AsyncGenerator[ReplayProcess]:
    """Run a process that replays, for as long as the context lasts."""
    # In a session of its own: who interrupts the ledger on a terminal doesn't interrupt it.
    process = ReplayProcess(
        await asyncio.create_subprocess_exec(
            *_COMMAND, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
    )
    try:
        yield process
    finally:
        await process.end()
