"""What users want of replicas at once: an agent is told, and brings it by a call of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from uuid import uuid4

from prometheus_client import Gauge

from fogbank.domain.decisions import PlacedReplica
from fogbank.domain.errands import Brought, Errand, ExecErrand, LogsErrand
from fogbank.domain.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
)
from fogbank.domain.facts import DeploymentFact
from services.gateway.app.agents import Agents
from services.gateway.app.deliveries import Delivery, Peers, Taker
from services.gateway.app.deployments import Deployments
from services.gateway.app.errand_shares import ErrandShares
from services.gateway.app.fold import FleetFold
from services.gateway.app.principal import Principal
from services.gateway.app.streams import Streams

_ERRANDS = Gauge("fog_gateway_errands", "Logs that are read and commands that run for users.")

MAX_TAIL = 100_000
MAX_COMMAND = 64
MAX_ARGUMENT = 4_096
_RETRY_HINT_MS = 1_000


class Errands:
    """Sends agents on errands for users, and takes what they bring.

    Both through the other gateways where the agent's stream, or what it calls, is there.
    """

    def __init__(
        self,
        deployments: Deployments,
        fold: FleetFold,
        agents: Agents,
        peers: Peers,
        patience_s: float = 10,
    ) -> None:
        """Give an agent `patience_s` seconds to come."""
        self._deployments = deployments
        self._fold = fold
        self._agents = agents
        self._peers = peers
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
    ) -> AsyncGenerator[Brought]:
        """Yield what a replica's container wrote, or with `previous` the one before.

        The replica is the one given, ended or not, or the last one of a `slot`.

        Raises:
            InvalidArgumentError: `tail` is out of bounds, or both replica and slot are given.
            NotFoundError: no such deployment or replica, or not the caller's.
            FailedPreconditionError: no node has it, or its node can't.
            ResourceExhaustedError: the caller has too many errands on its node already.
            UnavailableError: its node is connected nowhere, does not answer, or was cut off.
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
    ) -> AsyncGenerator[Brought]:
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

    @asynccontextmanager
    async def reachable(self, node_id: str) -> AsyncIterator[None]:
        """Let users of all gateways send a node's agent on errands: it has a stream here."""
        async with self._peers.reachable(node_id, partial(self._agents.send, node_id)):
            yield

    @asynccontextmanager
    async def taken(
        self, errand_id: str, check_speaks_for: Callable[[str], None]
    ) -> AsyncIterator[Taker]:
        """Give what takes what an agent brings for an errand, while the context lasts.

        Before that `check_speaks_for` is called with the node that was sent, and may raise.

        Raises:
            NotFoundError: nobody waits for it, here or elsewhere.
        """
        delivery = self._waiting.get(errand_id)
        if delivery is None:
            async with self._peers.offered(errand_id) as taker:
                check_speaks_for(taker.node_id)
                yield taker
            return
        check_speaks_for(delivery.node_id)
        if not delivery.begin():
            raise NotFoundError("nobody waits for that any more", reason="NO_SUCH_ERRAND")
        yield delivery

    @asynccontextmanager
    async def _sent(
        self, replica: PlacedReplica, kind: LogsErrand | ExecErrand
    ) -> AsyncIterator[Delivery]:
        errand = Errand(str(uuid4()), replica.id, kind)
        delivery = Delivery(replica.node_id)
        async with self._peers.awaiting(errand.errand_id, delivery):
            self._waiting[errand.errand_id] = delivery
            try:
                if not self._agents.send(replica.node_id, errand):
                    await self._peers.send(errand)
                await self._begun(delivery)
                with _ERRANDS.track_inprogress():
                    yield delivery
            finally:
                # At once: an agent that comes while the others are told would run it for nobody.
                del self._waiting[errand.errand_id]
                delivery.end()

    async def _begun(self, delivery: Delivery) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await delivery.begun()
        except TimeoutError:
            raise UnavailableError(
                f"its node did not answer within {self._patience_s:g} s",
                reason="NODE_SILENT",
                retry_after_ms=_RETRY_HINT_MS,
            ) from None

    def _replica(
        self, deployment: DeploymentFact, replica_id: str, slot: int | None = None
    ) -> PlacedReplica:
        """Return a deployment's replica, or that of a slot; the last one where none has a node."""
        placed = self._placed(deployment)
        if replica_id:
            if replica_id not in placed:
                raise NotFoundError.of("replica", replica_id)
            return placed[replica_id]
        decision = self._fold.fleet.decisions.deployments.get(deployment.id)
        live = decision.slots if decision is not None else {}
        chosen = [live[each] for each in sorted(live) if slot in {None, each}][:1]
        chosen = chosen or [each.id for each in placed.values() if slot in {None, each.slot}][-1:]
        if not chosen and placed:
            slots = ", ".join(map(str, sorted({each.slot for each in placed.values()})))
            raise InvalidArgumentError.of_field(
                "slot", f"must be one that had a replica ({slots}), got {slot}"
            )
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
            known = "it has had no other container"
            if replica.generation > 1:
                known = "its container before was replaced at least 7 days ago and is forgotten"
            raise FailedPreconditionError(known, reason="NO_PREVIOUS_CONTAINER")
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
