"""Mistakes in the folds, in gateways, in the log and its readers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from uuid import UUID

from fogbank.domain import facts as facts_module
from fogbank.domain.decisions import Decisions
from fogbank.domain.envelope import Commit
from fogbank.domain.events import NodeReported
from fogbank.domain.facts import Facts
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import command_event_id
from fogbank.domain.position import pack
from fogbank.domain.verdict import Verdict, VoidReason
from fogbank.log.clock_check import ClockCheck
from fogbank.log.group_commit import GroupCommit
from fogbank.log.jetstream import JetStreamLog
from services.gateway.app.agent_session import AgentSession
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deployments import Deployments
from services.gateway.core import agent_events, commands
from services.ledger.app.ports import Checkpoint, RivalLedgerError
from tests.simulation.broker import Broker
from tests.simulation.loop import pause
from tests.simulation.machines import SimStore
from tests.simulation.planting import Patches, bug, runs_in

# --- folds ------------------------------------------------------------------------------------


def _rounds_without(reason: VoidReason, prefix: str) -> Patches:
    judge = Decisions.void_reason

    def lenient(self: Decisions, commit: Any) -> VoidReason | None:
        void = judge(self, commit)
        return None if void is reason and runs_in(prefix) else void

    return [patch.object(Decisions, "void_reason", lenient)]


@bug
def prev_unchecked_by_a_scheduler() -> Patches:
    return _rounds_without(VoidReason.STALE_ROUND, "scheduler-0")


@bug
def prev_unchecked_by_a_gateway() -> Patches:
    return _rounds_without(VoidReason.STALE_ROUND, "gateway-0")


@bug
def prev_unchecked_by_all() -> Patches:
    return _rounds_without(VoidReason.STALE_ROUND, "")


@bug
def prev_unchecked_by_ledgers() -> Patches:
    return _rounds_without(VoidReason.STALE_ROUND, "ledger")


@bug
def dedupe_by_window_only() -> Patches:
    fold = Facts.fold

    def forgetful(facts: Facts, commit: Commit, index: int) -> Verdict:
        # Gateways still find their answers.
        with patch.object(Facts, "first", lambda *_: None):
            return fold(facts, commit, index)

    return [patch.object(Facts, "fold", forgetful)]


@bug
def epoch_unchecked() -> Patches:
    def lenient(facts: Facts, node_id: str, epoch: int) -> Any:
        return facts.nodes.get(node_id) or VoidReason.UNKNOWN_NODE

    return [patch.object(facts_module, "_node_in_epoch", lenient)]


@bug
def report_numbers_unchecked() -> Patches:
    judge = facts_module._node_reported

    def lenient(facts: Facts, envelope: Any, event: Any, position: int) -> Any:
        node = facts.nodes.get(event.node_id)
        if node is not None and node.epoch == event.epoch:
            node.last_report = event.number - 1
        return judge(facts, envelope, event, position)

    return [patch.dict(facts_module._HANDLERS, {NodeReported: lenient})]


@bug
def falling_states_taken_in() -> Patches:
    keep = facts_module._observe

    def lenient(facts: Facts, node_id: str, seen: Any, position: int) -> None:
        if runs_in("ledger"):
            facts.observed.discard((seen.replica_id, node_id))
        keep(facts, node_id, seen, position)

    return [patch.object(facts_module, "_observe", lenient)]


@bug
def room_unnoticed() -> Patches:
    fold = FleetState.fold

    def blind(self: FleetState, commit: Any) -> Any:
        folded = fold(self, commit)
        folded.room_appeared = False
        self.room_sequence = 0
        return folded

    return [patch.object(FleetState, "fold", blind)]


# --- gateway ----------------------------------------------------------------------------------


@bug
def reports_of_strangers_logged() -> Patches:
    proper = agent_events.reported

    def whole(node_id: str, report: Any, fleet: FleetState, now_us: int) -> Any:
        envelope: Any = proper(node_id, report, fleet, now_us)
        return replace(envelope, event=replace(envelope.event, observations=report.observations))

    return [patch.object(agent_events, "reported", whole)]


@bug
def ack_as_effect() -> Patches:
    async def submit(self: CommandLog, user_id: str, envelope: Any) -> int:
        sequence, index = await self._appender.append([envelope])
        await self.wait_for(sequence)
        return pack(sequence, index)

    return [patch.object(CommandLog, "submit", submit)]


@bug
def ack_before_durable() -> Patches:
    append = GroupCommit.append

    async def hasty(self: GroupCommit, envelopes: Any) -> tuple[int, int]:
        kind = type(envelopes[0].event).__name__
        if kind != "DeploymentScaled":
            return await append(self, envelopes)
        known = self._log._guard.last  # type: ignore[attr-defined]
        asyncio.get_running_loop().create_task(_swallow(append(self, envelopes)))
        return known.sequence, 0

    def verdict(self: CommandLog, envelope: Any) -> int:
        return self.answered(envelope) or 1 << 40

    return [
        patch.object(GroupCommit, "append", hasty),
        patch.object(CommandLog, "_verdict", verdict),
    ]


async def _swallow(work: Any) -> None:
    try:
        await work
    except Exception:  # noqa: BLE001 (the planted mistake: nobody looks at what came of it)
        return


@bug
def new_ids_when_repeated() -> Patches:
    derive = command_event_id
    seen: set[str] = set()

    def another(owner_id: str, method: str, request_id: str) -> str:
        event_id = derive(owner_id, method, request_id)
        if event_id in seen:
            return derive(owner_id, method, f"{request_id}/{len(seen)}")
        seen.add(event_id)
        return event_id

    return [patch("services.gateway.core.commands.command_event_id", another)]


@bug
def retry_with_new_bytes() -> Patches:
    insist = GroupCommit._insist

    async def reworded(self: GroupCommit, data: bytes) -> int:
        from fogbank.v1 import log_pb2  # noqa: PLC0415 (this mistake alone needs it)

        commit = log_pb2.Commit.FromString(data)
        for envelope in commit.events:
            number = UUID(envelope.event_id).int ^ 1
            envelope.event_id = str(UUID(int=number))
        return await insist(self, commit.SerializeToString())

    return [patch.object(GroupCommit, "_insist", reworded)]


@bug
def expectation_ignored() -> Patches:
    change = Deployments._change

    async def careless(
        self: Any, principal: Any, deployment: Any, envelope: Any, *_: Any, **options: Any
    ) -> Any:
        envelope = replace(envelope, command=replace(envelope.command, expected_version=0))
        return await change(self, principal, deployment, envelope, 0, **options)

    return [patch.object(Deployments, "_change", careless)]


@bug
def clash_accepted() -> Patches:
    settle = commands.settle

    def lenient(envelope: Any, first: Any) -> int:
        return settle(replace(envelope, command=None), first)

    return [patch.object(commands, "settle", lenient)]


@bug
def stale_assignments() -> Patches:
    """A gateway begins with the list that it sent a node the last time; agents believe it."""
    assignments = AgentSession._next_assignments
    lists: dict[tuple[int, str], Any] = {}

    async def remembered(self: AgentSession, *, complete: bool) -> Any:
        message = await assignments(self, complete=complete)
        if not complete or message is None:
            return message
        first = lists.setdefault((id(self._fold), self.node_id), message)
        return replace(message, assignments=first.assignments)

    return [patch.object(AgentSession, "_next_assignments", remembered)]


@bug
def session_deaf_to_the_fold() -> Patches:
    return [patch.object(AgentSession, "wake", lambda _: None)]


@bug
def clock_unchecked() -> Patches:
    async def trusting(_: ClockCheck) -> None:
        return None

    return [patch.object(ClockCheck, "require", trusting)]


# --- ledger, log ------------------------------------------------------------------------------


@bug
def checkpoint_outside_the_transaction() -> Patches:
    async def write(
        self: SimStore, former: Checkpoint, commits: Any, changes: Any, growth: Any
    ) -> Checkpoint:
        await self._go()
        if self._database.checkpoint != former:
            raise RivalLedgerError("the checkpoint is another one")
        self._database.apply(list(commits), changes, growth)
        wanted, self._database.checkpoint = self._database.checkpoint, former
        for _ in range(3):  # a transaction of its own: its begin, the change and its end
            await self._go()
        self._database.checkpoint = wanted
        return wanted

    return [patch.object(SimStore, "write", write)]


@bug
def tail_lost() -> Patches:
    go_down = Broker.go_down

    def with_loss(self: Broker, lose: int = 3) -> None:
        go_down(self, lose)

    return [patch.object(Broker, "go_down", with_loss)]


@bug
def reader_skips_after_an_outage() -> Patches:
    follow = JetStreamLog.follow

    async def leaping(self: JetStreamLog, after: int) -> Any:
        skip = False
        async for batch in follow(self, after):
            if not skip and len(batch) > 2 and runs_in("gateway"):
                skip = True
                batch = batch[1:]  # noqa: PLW2901 (the planted mistake)
            yield batch
            await pause(0)

    return [patch.object(JetStreamLog, "follow", leaping)]
