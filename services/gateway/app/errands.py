"""What users want of replicas at once: an agent is told, and brings it by a call of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from prometheus_client import Gauge

from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from fogbank.domain.facts import DeploymentFact
from services.gateway.app.agents import Agents
from services.gateway.app.deployments import Deployments
from services.gateway.app.errand_shares import ErrandShares
from services.gateway.app.fold import FleetFold
from services.gateway.app.principal import Principal
from services.gateway.app.streams import Streams
from services.gateway.core.agent_messages import Errand, ExecErrand, LogsErrand

_ERRANDS = Gauge("fog_gateway_errands", "Logs that are read and commands that run for users.")

MAX_TAIL = 100_000
MAX_COMMAND = 64
MAX_ARGUMENT = 4_096
# So many pieces wait for a slow user; then the agent waits, and reads no further.
_PIECES = 8
_RETRY_HINT_MS = 1_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of what an agent brings; the last one has an exit code or a failure."""

    data: bytes = b""
    is_error: bool = False
    exit_code: int | None = None
    failure: str = ""


class Delivery:
    """What an agent brings for one errand of its node, piece by piece."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self._pieces: asyncio.Queue[Piece | None] = asyncio.Queue(_PIECES)
        self._begun = asyncio.Event()
        self._unwanted = asyncio.Event()

    def begin(self) -> None:
        """Note that the agent came."""
        self._begun.set()

    async def begun(self) -> None:
        """Wait until the agent came."""
        await self._begun.wait()

    def end(self) -> None:
        """Note that nobody wants more."""
        self._unwanted.set()

    async def unwanted(self) -> None:
        """Wait until nobody wants more."""
        await self._unwanted.wait()

    async def put(self, piece: Piece | None) -> bool:
        """Hand on a piece, None after the last; tell whether somebody wants more."""
        putting = asyncio.ensure_future(self._pieces.put(piece))
        unwanted = asyncio.ensure_future(self._unwanted.wait())
        try:
            await asyncio.wait({putting, unwanted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
            unwanted.cancel()
        return not self._unwanted.is_set()

    async def pieces(self) -> AsyncGenerator[Piece]:
        """Yield all pieces.

        Raises:
            FailedPreconditionError: the agent says that it can't be done.
        """
        while (piece := await self._pieces.get()) is not None:
            if piece.failure:
                raise FailedPreconditionError(piece.failure, reason="ERRAND_FAILED")
            yield piece


class Errands:
    """Sends agents on errands for users, and takes what they bring."""

    def __init__(
        self, deployments: Deployments, fold: FleetFold, agents: Agents, patience_s: float = 10
    ) -> None:
        """Give an agent `patience_s` seconds to come."""
        self._deployments = deployments
        self._fold = fold
        self._agents = agents
        self._patience_s = patience_s
        self._waiting: dict[str, Delivery] = {}
        self._streams = Streams()
        self._shares = ErrandShares()

    async def logs(
        self,
        principal: Principal,
        deployment_id: str,
        replica_id: str,
        *,
        tail: int,
        follow: bool = False,
        slot: int | None = None,
        previous: bool = False,
    ) -> AsyncGenerator[Piece]:
        """Yield what a replica's container wrote, or with `previous` the one before.

        The replica is the one given, ended or not, or the last one of a `slot`.

        Raises:
            InvalidArgumentError: `tail` is out of bounds, or both replica and slot are given.
            NotFoundError: no such deployment or replica, or not the caller's.
            FailedPreconditionError: no node has it, or its node can't.
            ResourceExhaustedError: the caller has too many errands on its node already.
            UnavailableError: its node is not connected here, or does not answer.
        """
        if not 0 <= tail <= MAX_TAIL:
            raise InvalidArgumentError.of_field("tail", f"must be 0 to {MAX_TAIL}, got {tail}")
        if replica_id and slot is not None:
            raise InvalidArgumentError.of_field("slot", "must not be given beside a replica")
        deployment = await self._deployments.own(principal, deployment_id)
        replica = self._replica(deployment, replica_id, slot)
        if previous and not self._restarted(replica):
            replica, previous = self._before(deployment, replica), False
        async with (
            self._shares.one(principal, replica.node_id),
            self._sent(replica, LogsErrand(tail, follow, previous)) as delivery,
        ):
            async for piece in delivery.pieces():
                yield piece

    async def execute(
        self, principal: Principal, deployment_id: str, replica_id: str, command: tuple[str, ...]
    ) -> AsyncGenerator[Piece]:
        """Yield what a command in a replica's container writes, and last its exit code.

        Raises: as `logs`, and as `Deployments.changeable`, whenever that comes to be so.
        """
        if not 1 <= len(command) <= MAX_COMMAND or not command[0]:
            raise InvalidArgumentError.of_field(
                "command", f"must be a program and at most {MAX_COMMAND - 1} arguments"
            )
        if any(len(word) > MAX_ARGUMENT or "\0" in word for word in command):
            raise InvalidArgumentError.of_field(
                "command", f"must have words of at most {MAX_ARGUMENT} characters, none zero"
            )
        deployment = await self._deployments.changeable(principal, deployment_id)
        replica = self._replica(deployment, replica_id)
        check = partial(self._deployments.check_changeable, principal, deployment.id)
        async with (
            self._shares.one(principal, replica.node_id),
            self._sent(replica, ExecErrand(command)) as delivery,
            aclosing(self._streams.while_allowed(check, delivery.pieces())) as pieces,
        ):
            async for piece in pieces:
                yield piece

    def node_of(self, errand_id: str) -> str:
        """Return the node that was sent on an errand; NotFoundError if nobody waits for it here."""
        return self._wanted(errand_id).node_id

    def taken(self, errand_id: str) -> Delivery:
        """Return where an agent is to bring what it has for an errand.

        Raises:
            NotFoundError: nobody waits for it here.
        """
        delivery = self._wanted(errand_id)
        del self._waiting[errand_id]
        delivery.begin()
        return delivery

    def _wanted(self, errand_id: str) -> Delivery:
        delivery = self._waiting.get(errand_id)
        if delivery is None:
            raise NotFoundError("nobody waits for that here", reason="NO_SUCH_ERRAND")
        return delivery

    @asynccontextmanager
    async def _sent(
        self, replica: PlacedReplica, kind: LogsErrand | ExecErrand
    ) -> AsyncIterator[Delivery]:
        errand = Errand(str(uuid4()), replica.id, kind)
        delivery = self._waiting[errand.errand_id] = Delivery(replica.node_id)
        try:
            self._agents.send(replica.node_id, errand)
            try:
                async with asyncio.timeout(self._patience_s):
                    await delivery.begun()
            except TimeoutError:
                raise UnavailableError(
                    f"its node did not answer within {self._patience_s:g} s",
                    reason="NODE_SILENT",
                    retry_after_ms=_RETRY_HINT_MS,
                ) from None
            with _ERRANDS.track_inprogress():
                yield delivery
        finally:
            self._waiting.pop(errand.errand_id, None)
            delivery.end()

    def _replica(
        self, deployment: DeploymentFact, replica_id: str, slot: int | None = None
    ) -> PlacedReplica:
        """Return a deployment's replica, or that of a slot; the last one where none has a node."""
        placed = self._placed(deployment)
        if replica_id:
            if replica_id not in placed:
                raise NotFoundError("Replica not found", reason="REPLICA_NOT_FOUND")
            return placed[replica_id]
        decision = self._fold.fleet.decisions.deployments.get(deployment.id)
        live = decision.slots if decision is not None else {}
        chosen = [live[each] for each in sorted(live) if slot in {None, each}][:1]
        chosen = chosen or [each.id for each in placed.values() if slot in {None, each.slot}][-1:]
        if not chosen:
            raise FailedPreconditionError("no replica of it has a node", reason="NO_REPLICA")
        return placed[chosen[0]]

    def _before(self, deployment: DeploymentFact, replica: PlacedReplica) -> PlacedReplica:
        """Return the replica that was in a replica's slot before it."""
        before = None
        for each in self._placed(deployment).values():
            if each.id == replica.id:
                break
            if each.slot == replica.slot:
                before = each
        if before is None:
            raise FailedPreconditionError(
                "it has had no other container", reason="NO_PREVIOUS_CONTAINER"
            )
        return before

    def _restarted(self, replica: PlacedReplica) -> bool:
        observed = self._fold.fleet.facts.observed.get((replica.id, replica.node_id))
        return observed is not None and observed.restart_count > 0

    def _placed(self, deployment: DeploymentFact) -> dict[str, PlacedReplica]:
        """Return all replicas that a deployment ever had, in the order of their placements."""
        decisions = self._fold.fleet.decisions
        decision = decisions.deployments.get(deployment.id)
        known = decision.replica_ids if decision is not None else ()
        return {replica_id: decisions.placements[replica_id] for replica_id in known}
