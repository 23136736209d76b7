"""Processes are frozen for longer than every lease, and wake as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from fogbank.cli.whole_log import LogSource, open_source
from fogbank.domain import events as ev
from fogbank.log.follower import read_commits
from fogbank.v1 import nodes_pb2
from tests.support.chaos import (
    AGENT,
    SchedulerView,
    chaos_system,
    disturbed,
    freeze,
    judge,
    new_record,
    thaw,
)
from tests.support.command_load import Record, command_load
from tests.support.fault_proxy import HoldingProxy
from tests.support.fog_up import ROOT, FogUp
from tests.support.grpc_user import GrpcUser, grpc_admin
from tests.support.ports import free_port
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.kill, pytest.mark.timeout(1800), pytest.mark.xdist_group("chaos")]

Report = Callable[[str, object], None]

LONGER_THAN_EVERY_LEASE_S = 4.0


def waited_until(instant_s: float) -> None:
    eventually_sync(lambda: time.monotonic() >= instant_s, 60, what="the end of a pause")


@contextmanager
def scheduler_through(port: int, system: FogUp) -> Iterator[tuple[int, SchedulerView]]:
    """Run a further scheduler that reaches the broker through `port`; yield its pid and view."""
    secrets = system.data_dir / "secrets"
    listen = f"127.0.0.1:{free_port()}"
    broker_monitor = system.ports["nats-monitor"]
    env = dict(os.environ) | {
        "PYTHONPATH": str(ROOT),
        "FOG_NATS_URL": f"nats://127.0.0.1:{port}",
        "FOG_NATS_MONITOR_URL": f"http://127.0.0.1:{broker_monitor}",
        "FOG_NATS_USER": "scheduler",
        "FOG_NATS_PASSWORD_FILE": str(secrets / "nats_scheduler_password"),
        "FOG_SERVICE_TOKEN_FILE": str(secrets / "service_token"),
        "FOG_LEDGER_ADDR": f"127.0.0.1:{system.ports['ledger-1-grpc']}",
        "FOG_INSTANCE": "scheduler-far",
        "FOG_GRPC_LISTEN": listen,
        "FOG_METRICS_LISTEN": "127.0.0.1:0",
        "FOG_LOG_FORMAT": "json",
    }
    with (system.data_dir / "logs" / "scheduler-far.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.scheduler.main"], stdout=log, stderr=log, env=env
        )
    try:
        yield process.pid, SchedulerView(listen, (secrets / "service_token").read_text().strip())
    finally:
        process.kill()
        process.wait(60)


@asynccontextmanager
async def holding_proxy(port: int) -> AsyncIterator[HoldingProxy]:
    proxy = HoldingProxy("127.0.0.1", port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()


async def test_a_frozen_leaders_round_arrives_late_and_is_void(report_figures: Report) -> None:
    """The worst that a pause can do: the round is decided and sent, and arrives much later."""
    with chaos_system() as system:
        # A first round, so that it is clear who leads.
        record = new_record(system)
        with command_load(system, record, "first", count=4) as load:
            load.finish()
        async with holding_proxy(system.ports["nats"]) as proxy:
            with scheduler_through(proxy.port, system) as (pid, far):
                figures = await asyncio.to_thread(late_round, system, record, proxy, pid, far)
    for what, figure in figures.items():
        report_figures(what, figure)


def late_round(
    system: FogUp, record: Record, proxy: HoldingProxy, pid: int, far: SchedulerView
) -> dict[str, object]:
    near = SchedulerView.of(system, "scheduler-1")
    assert near.status().leader == "scheduler-1"
    eventually_sync(lambda: far.status().leader == "scheduler-1", 120, what="the second's fold")
    with command_load(system, record, "job", pace_s=0.1) as load:
        load.reach(0.1)
        freeze(system, "scheduler-1")
        first_s = far.wait_leader("scheduler-far")
        # Its next round gets no farther than the proxy, where it stays while its author sleeps.
        proxy.hold_from(b"HPUB fogbank.log.default.1.scheduler.")
        eventually_sync(lambda: proxy.held_bytes, 120, what="a round on its way")
        os.kill(pid, signal.SIGSTOP)
        thaw(system, "scheduler-1")
        second_s = near.wait_leader("scheduler-1")
        load.reach(0.9)
        void = near.status().rounds_void
        proxy.release()
        os.kill(pid, signal.SIGCONT)
        load.finish()
    verdict = judge(system, record)
    assert verdict.rounds_void > void, "the late round is in the log and void"
    assert eventually_sync(lambda: far.status().rounds_void, 120) >= 1
    return {"takeover in s": (round(first_s, 2), round(second_s, 2)), "late round": verdict}


SHORT_SILENCE = {
    # Three of them without a sign of life, and a node is offline; later it is lost.
    "FOG_HEARTBEAT_PERIOD_MS": "1000",
    "FOG_LOST_AFTER_MS": "4000",
    "FOG_RESCHEDULE_DELAY_MS": "500",
}


def put_offline(system: FogUp) -> list[tuple[int, str]]:
    """Return the nodes that rounds put offline, with the rounds' sequences."""

    async def read() -> list[tuple[int, str]]:
        async with open_source(LogSource(system.state["nats"])) as log:
            found = []
            async for commits in read_commits(log, 1, await log.last_sequence()):
                for commit in commits:
                    event = commit.envelopes[0].event
                    outcomes = event.outcomes if isinstance(event, ev.RoundDecided) else ()
                    found += [
                        (commit.sequence, outcome.node_id)
                        for outcome in outcomes
                        if isinstance(outcome, ev.NodeOffline)
                    ]
            return found

    return asyncio.run(read())


@pytest.mark.parametrize("frozen", ["scheduler-1", "nats"])
def test_what_nobody_could_hear_makes_no_node_offline(frozen: str) -> None:
    with chaos_system(env=SHORT_SILENCE | {"FOG_HEARTBEAT_PERIOD_MS": "2000"}) as system:
        record = new_record(system)
        with command_load(system, record, "first", count=4) as load:
            load.finish()
        for _ in range(2):
            began = time.monotonic()
            freeze(system, frozen)
            try:
                # Longer than it takes until nodes are offline, and their replicas lost.
                waited_until(began + 15)
            finally:
                thaw(system, frozen)
            # So long after it would those be offline that are not heard then.
            waited_until(time.monotonic() + 8)
        with command_load(system, record, "second", count=4) as load:
            load.finish()
        assert put_offline(system) == []
        judge(system, record)


def replicas_replaced(admin: GrpcUser, record: Record) -> int:
    """Return how many of the replicas that run now are not the first of their slot."""
    running = [admin.get(record.ids[name]) for name, wish in record.wishes.items() if wish.last]
    first = min(replica.generation for shown in running for replica in shown.replicas)
    return sum(replica.generation > first for shown in running for replica in shown.replicas)


def test_an_agent_is_frozen_until_others_do_its_work(report_figures: Report) -> None:
    with chaos_system(env=SHORT_SILENCE) as system, grpc_admin(system) as admin:
        took: list[float] = []

        def status() -> nodes_pb2.NodeStatus.ValueType:
            return next(node for node in admin.all_nodes() if node.name == "edge-1").status

        def online() -> bool:
            return status() != nodes_pb2.NODE_STATUS_OFFLINE

        def disturb() -> None:
            eventually_sync(online, 300, what="the node's return")
            freeze(system, AGENT)
            began = time.monotonic()
            try:
                eventually_sync(lambda: not online(), 300, what="the node's loss")
                took.append(time.monotonic() - began)
                waited_until(began + 2 * LONGER_THAN_EVERY_LEASE_S)
            finally:
                thaw(system, AGENT)

        record = new_record(system)
        verdict = disturbed(system, [disturb] * 2, record=record)
        eventually_sync(online, 300, what="the node's return")
        replaced = replicas_replaced(admin, record)
    assert replaced, "others did its work"
    report_figures("replicas replaced", replaced)
    report_figures("offline after s", [round(each, 2) for each in took])
    report_figures("frozen agent", verdict)
