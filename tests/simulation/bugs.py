"""Mistakes to plant: each switch breaks production code (or an adapter's fake) in one way.

They prove that the simulation sees. A mistake that is planted in some processes only shows that
readers who come to different states are noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from uuid import UUID

from fogbank.domain import facts as facts_module
from fogbank.domain.decisions import Decisions, Desired
from fogbank.domain.events import NodeOffline, NodeReported
from fogbank.domain.facts import Facts
from fogbank.domain.fleet import FleetState
from fogbank.domain.ids import command_event_id
from fogbank.domain.position import pack
from fogbank.domain.verdict import VoidReason
from fogbank.log.clock_check import ClockCheck
from fogbank.log.group_commit import GroupCommit
from fogbank.placement import engine, looks, needs
from services.gateway.app.agent_session import AgentSession
from services.gateway.app.command_log import CommandLog
from services.gateway.app.deployments import Deployments
from services.gateway.core import commands
from services.ledger.app.ports import Checkpoint, RivalLedgerError
from services.node_agent.core.agent import AgentCore
from services.node_agent.core.kept import ReportsAcknowledged, SequenceKept
from services.node_agent.core.lifecycle import Lifecycle
from services.scheduler.core.leadership import Leadership
from tests.simulation.broker import Broker, SimLog
from tests.simulation.loop import current_process, pause
from tests.simulation.machines import SimDisk, SimStore

_Patches = Callable[[], Sequence[AbstractContextManager[Any]]]
BUGS: dict[str, _Patches] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Run with a mistake in the code."""
    with ExitStack() as stack:
        for each in BUGS[name]():
            stack.enter_context(each)
        yield


def _bug(make: _Patches) -> _Patches:
    BUGS[make.__name__.strip("_").replace("_", "-")] = make
    return make


def _in(prefix: str) -> bool:
    process = current_process()
    return process is not None and process.name.startswith(prefix)


# --- folds ------------------------------------------------------------------------------------


def _rounds_without(reason: VoidReason, prefix: str) -> Sequence[AbstractContextManager[Any]]:
    judge = Decisions._void

    def lenient(self: Decisions, commit: Any, event: Any) -> VoidReason | None:
        void = judge(self, commit, event)
        return None if void is reason and _in(prefix) else void

    return [patch.object(Decisions, "_void", lenient)]


@_bug
def _prev_unchecked_by_a_scheduler() -> Sequence[AbstractContextManager[Any]]:
    return _rounds_without(VoidReason.STALE_ROUND, "scheduler-0")


@_bug
def _prev_unchecked_by_a_gateway() -> Sequence[AbstractContextManager[Any]]:
    return _rounds_without(VoidReason.STALE_ROUND, "gateway-0")


@_bug
def _prev_unchecked_by_all() -> Sequence[AbstractContextManager[Any]]:
    return _rounds_without(VoidReason.STALE_ROUND, "")


@_bug
def _prev_unchecked_by_ledgers() -> Sequence[AbstractContextManager[Any]]:
    return _rounds_without(VoidReason.STALE_ROUND, "ledger")


@_bug
def _dedupe_by_window_only() -> Sequence[AbstractContextManager[Any]]:
    return [patch.object(Facts, "_first", lambda *_: None)]


@_bug
def _epoch_unchecked() -> Sequence[AbstractContextManager[Any]]:
    def lenient(facts: Facts, node_id: str, epoch: int) -> Any:
        return facts.nodes.get(node_id) or VoidReason.UNKNOWN_NODE

    return [patch.object(facts_module, "_node_in_epoch", lenient)]


@_bug
def _report_numbers_unchecked() -> Sequence[AbstractContextManager[Any]]:
    judge = facts_module._node_reported

    def lenient(facts: Facts, envelope: Any, event: Any, position: int) -> Any:
        node = facts.nodes.get(event.node_id)
        if node is not None and node.epoch == event.epoch:
            node.last_report = event.number - 1
        return judge(facts, envelope, event, position)

    return [patch.dict(facts_module._HANDLERS, {NodeReported: lenient})]


@_bug
def _falling_states_taken_in() -> Sequence[AbstractContextManager[Any]]:
    keep = facts_module._observe

    def lenient(facts: Facts, node_id: str, seen: Any) -> None:
        if _in("ledger"):
            facts.observed.pop((seen.replica_id, node_id), None)
        keep(facts, node_id, seen)

    return [patch.object(facts_module, "_observe", lenient)]


@_bug
def _room_unnoticed() -> Sequence[AbstractContextManager[Any]]:
    touch = FleetState._touch_report

    def quiet(self: FleetState, report: Any, folded: Any) -> None:
        before = folded.room_appeared
        touch(self, report, folded)
        folded.room_appeared = before

    return [patch.object(FleetState, "_touch_report", quiet)]


# --- gateway ----------------------------------------------------------------------------------


@_bug
def _ack_as_effect() -> Sequence[AbstractContextManager[Any]]:
    async def submit(self: CommandLog, user_id: str, envelope: Any) -> int:
        sequence, index = await self._appender.append([envelope])
        await self.wait_for(sequence)
        return pack(sequence, index)

    return [patch.object(CommandLog, "submit", submit)]


@_bug
def _ack_before_durable() -> Sequence[AbstractContextManager[Any]]:
    append = GroupCommit.append

    async def hasty(self: GroupCommit, envelopes: Any) -> tuple[int, int]:
        kind = type(envelopes[0].event).__name__
        if kind != "DeploymentScaled":
            return await append(self, envelopes)
        known = self._log.guard.last  # type: ignore[attr-defined]
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


@_bug
def _new_ids_when_repeated() -> Sequence[AbstractContextManager[Any]]:
    derive = command_event_id
    seen: set[str] = set()

    def another(owner_id: str, method: str, request_id: str) -> str:
        event_id = derive(owner_id, method, request_id)
        if event_id in seen:
            return derive(owner_id, method, f"{request_id}/{len(seen)}")
        seen.add(event_id)
        return event_id

    return [patch("services.gateway.core.commands.command_event_id", another)]


@_bug
def _retry_with_new_bytes() -> Sequence[AbstractContextManager[Any]]:
    insist = GroupCommit._insist

    async def reworded(self: GroupCommit, data: bytes) -> int:
        from fogbank.v1 import log_pb2  # noqa: PLC0415 (this mistake alone needs it)

        commit = log_pb2.Commit.FromString(data)
        for envelope in commit.events:
            number = UUID(envelope.event_id).int ^ 1
            envelope.event_id = str(UUID(int=number))
        return await insist(self, commit.SerializeToString())

    return [patch.object(GroupCommit, "_insist", reworded)]


@_bug
def _expectation_ignored() -> Sequence[AbstractContextManager[Any]]:
    change = Deployments._change

    async def careless(
        self: Any, principal: Any, deployment: Any, envelope: Any, *_: Any, **options: Any
    ) -> Any:
        envelope = replace(envelope, command=replace(envelope.command, expected_version=0))
        return await change(self, principal, deployment, envelope, 0, **options)

    return [patch.object(Deployments, "_change", careless)]


@_bug
def _clash_accepted() -> Sequence[AbstractContextManager[Any]]:
    settle = commands.settle

    def lenient(envelope: Any, first: Any) -> int:
        return settle(replace(envelope, command=None), first)

    return [patch.object(commands, "settle", lenient)]


@_bug
def _stale_assignments() -> Sequence[AbstractContextManager[Any]]:
    async def at_once(_: AgentSession) -> None:
        return None

    def accept(self: AgentCore, stimulus: Any, now_us: int) -> None:
        self._assigned = True
        self._workings.keep(SequenceKept(stimulus.sequence), urgent=False)
        self._lifecycle.assign(stimulus.assignments, stimulus.sequence, now_us)
        if stimulus.complete:
            listed = frozenset(each.replica_id for each in stimulus.assignments)
            self._lifecycle.keep_only(listed, stimulus.sequence)

    return [
        patch.object(AgentSession, "_as_far_as_the_agent", at_once),
        patch.object(AgentCore, "_assign", accept),
    ]


@_bug
def _session_deaf_to_the_fold() -> Sequence[AbstractContextManager[Any]]:
    return [patch.object(AgentSession, "wake", lambda _: None)]


@_bug
def _clock_unchecked() -> Sequence[AbstractContextManager[Any]]:
    async def trusting(_: ClockCheck) -> None:
        return None

    return [patch.object(ClockCheck, "require", trusting)]


# --- placement --------------------------------------------------------------------------------


@_bug
def _room_released_before_the_end() -> Sequence[AbstractContextManager[Any]]:
    take = looks._take

    def hasty(*args: Any, **options: Any) -> Any:
        return replace(take(*args, **options), starts_after=())

    return [patch.object(looks, "_take", hasty)]


@_bug
def _placed_in_part() -> Sequence[AbstractContextManager[Any]]:
    place = looks.place

    def partly(fleet: Any, room: Any, deployment: Any, slots: tuple[int, ...]) -> Any:
        found = place(fleet, room, deployment, slots)
        if isinstance(found, looks.Shortage) and len(slots) > 1:
            return place(fleet, room, deployment, slots[:1])
        return found

    return [patch.object(engine, "place", partly)]


@_bug
def _memory_not_booked() -> Sequence[AbstractContextManager[Any]]:
    def blind(arrays: Any) -> looks.Room:
        room = looks.Room(arrays, arrays.booked.copy(), arrays.held.copy())
        room.booked[1, :] = 0
        return room

    return [patch.object(looks.Room, "of", blind)]


@_bug
def _deleted_runs_on() -> Sequence[AbstractContextManager[Any]]:
    unwanted = needs._unwanted

    def blind(fleet: Any, decision: Any, wanted: int) -> tuple[str, ...]:
        return unwanted(fleet, decision, wanted) if wanted else ()

    return [patch.object(needs, "_unwanted", blind)]


@_bug
def _returned_never_settled() -> Sequence[AbstractContextManager[Any]]:
    return [patch.object(needs, "_returned", lambda *_: ())]


@_bug
def _suspended_room_given_away() -> Sequence[AbstractContextManager[Any]]:
    on_node = FleetState.on_node

    def hasty(self: FleetState, node_id: str) -> Any:
        return (
            placed for placed in on_node(self, node_id) if placed.desired is not Desired.SUSPENDED
        )

    return [patch.object(FleetState, "on_node", hasty)]


@_bug
def _lost_nodes_never_replaced() -> Sequence[AbstractContextManager[Any]]:
    return [patch.object(engine, "suspensions", lambda *_: [])]


@_bug
def _broken_never_replaced() -> Sequence[AbstractContextManager[Any]]:
    return [patch.object(needs, "_reschedule_at_us", lambda *_: 1 << 60)]


@_bug
def _leader_for_ever() -> Sequence[AbstractContextManager[Any]]:
    def stubborn(self: Leadership, now_us: int) -> int:
        return now_us if self.leading or not self.leader else now_us + 3_600_000_000

    return [patch.object(Leadership, "may_decide_at_us", stubborn)]


@_bug
def _silent_nodes_put_offline_again() -> Sequence[AbstractContextManager[Any]]:
    def blind(fleet: Any, observations: Any) -> Any:
        return [
            NodeOffline(seen.node_id, fleet.facts.nodes[seen.node_id].epoch, 0)
            for seen in observations
        ]

    return [patch.object(engine, "silent_nodes", blind)]


# --- node agent -------------------------------------------------------------------------------


@_bug
def _starts_before_the_end() -> Sequence[AbstractContextManager[Any]]:
    return [patch.object(Lifecycle, "_must_wait", lambda *_: False)]


@_bug
def _reports_not_repeated() -> Sequence[AbstractContextManager[Any]]:
    welcome = AgentCore._welcome

    def forgetful(self: AgentCore, stimulus: Any, now_us: int) -> None:
        self._workings.keep(ReportsAcknowledged(self._kept.last_number))
        welcome(self, stimulus, now_us)

    return [patch.object(AgentCore, "_welcome", forgetful)]


@_bug
def _unlisted_runs_on() -> Sequence[AbstractContextManager[Any]]:
    return [patch.object(Lifecycle, "keep_only", lambda *_: None)]


@_bug
def _disk_not_synced() -> Sequence[AbstractContextManager[Any]]:
    load = SimDisk.load

    async def forgetful(self: SimDisk) -> Any:
        del self._machine.journal[-3:]
        return await load(self)

    return [patch.object(SimDisk, "load", forgetful)]


@_bug
def _containers_not_looked_for() -> Sequence[AbstractContextManager[Any]]:
    boot = Lifecycle.boot

    def blind(self: Lifecycle, containers: Any, now_us: int) -> None:
        boot(self, (), now_us)

    return [patch.object(Lifecycle, "boot", blind)]


# --- ledger, log ------------------------------------------------------------------------------


@_bug
def _checkpoint_outside_the_transaction() -> Sequence[AbstractContextManager[Any]]:
    async def write(self: SimStore, former: Checkpoint, commits: Any, changes: Any) -> Checkpoint:
        await self._go()
        if self._database.checkpoint != former:
            raise RivalLedgerError("the checkpoint is another one")
        self._database.apply(list(commits), changes)
        wanted, self._database.checkpoint = self._database.checkpoint, former
        await self._go()
        self._database.checkpoint = wanted
        return wanted

    return [patch.object(SimStore, "write", write)]


@_bug
def _tail_lost() -> Sequence[AbstractContextManager[Any]]:
    go_down = Broker.go_down

    def with_loss(self: Broker, lose: int = 3) -> None:
        go_down(self, lose)

    return [patch.object(Broker, "go_down", with_loss)]


@_bug
def _reader_skips_after_an_outage() -> Sequence[AbstractContextManager[Any]]:
    follow = SimLog.follow

    async def leaping(self: SimLog, after: int) -> Any:
        skip = False
        async for batch in follow(self, after):
            if not skip and len(batch) > 2 and _in("gateway"):
                skip = True
                batch = batch[1:]  # noqa: PLW2901 (the planted mistake)
            yield batch
            await pause(0)

    return [patch.object(SimLog, "follow", leaping)]
