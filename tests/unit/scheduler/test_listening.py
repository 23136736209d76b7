"""What a scheduler makes of silence that may be its own deafness, in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fogbank.codec import decode_commit
from fogbank.domain import events as ev
from fogbank.domain.envelope import GATEWAY, SCHEDULER
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import Writer
from services.scheduler.adapters.listening import Listening
from services.scheduler.app import Scheduler
from tests.simulation.loop import Process, VirtualLoop, pause, run_virtually
from tests.simulation.world import SimClock
from tests.support.fleet_log import LittleLog, an_id
from tests.support.schedulers import NoMeter

NODES = ("fog-0", "fog-1", "fog-2")
PERIOD_S = 5.0


class Little:
    """A scheduler in a process of its own, and nodes whose heartbeats reach it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.process = Process("scheduler")
        clock = SimClock(loop)
        self.store = MemoryStore(clock.now_us)
        self.log = LittleLog()
        self.silent: set[str] = set()
        log = MemoryLog(self.store, Writer(SCHEDULER, "one"))
        self.scheduler = Scheduler(log, clock, NoMeter())
        self.listening = Listening(self.scheduler, log, clock)

    def connect(self, name: str) -> None:
        self.log.connect(name)
        self.store.add(Writer(GATEWAY, "g"), self.log.data[-1])

    async def beat(self, name: str, after_s: float) -> None:
        """Send heartbeats for ever; they are lost where nobody takes them in."""
        await pause(after_s)
        while True:
            reached = self.store.available and not self.process.frozen
            if reached and name not in self.silent:
                node_id = an_id(name)
                heard, epoch = self.scheduler.heard, self.log.epochs[node_id]
                self.loop.call_soon(heard, node_id, epoch, context=self.process.context.copy())
            await pause(PERIOD_S)

    def offline(self) -> set[str]:
        """Return the nodes that rounds put offline."""
        found = set()
        for stored in self.store.commits:
            writer = stored.writer
            commit = decode_commit(stored.sequence, writer.service, writer.instance, stored.data)
            event = commit.envelopes[0].event
            if isinstance(event, ev.RoundDecided):
                found |= {one.node_id for one in event.outcomes if isinstance(one, ev.NodeOffline)}
        return {name for name in NODES if an_id(name) in found}


@asynccontextmanager
async def running(loop: VirtualLoop) -> AsyncIterator[Little]:
    little = Little(loop)
    for name in NODES:
        little.connect(name)
    scheduler = little.scheduler
    async with asyncio.TaskGroup() as tasks:
        made = [
            tasks.create_task(each, context=little.process.context.copy())
            for each in (scheduler.follow(), scheduler.decide(), little.listening.run())
        ]
        made += [
            tasks.create_task(little.beat(name, number * 1.5)) for number, name in enumerate(NODES)
        ]
        await pause(30)
        yield little
        for task in made:
            task.cancel()


@pytest.mark.parametrize("silent", [NODES[:1], NODES])
def test_who_falls_silent_is_offline_after_three_periods(silent: tuple[str, ...]) -> None:
    async def story(loop: VirtualLoop) -> None:
        async with running(loop) as little:
            little.silent |= {*silent}
            await pause(2 * PERIOD_S)
            assert little.offline() == set()
            await pause(2 * PERIOD_S)
            assert little.offline() == {*silent}

    run_virtually(story)


@pytest.mark.parametrize("what", ["stopped", "cut off"])
def test_what_could_not_be_heard_is_nobodys_silence(what: str) -> None:
    async def story(loop: VirtualLoop) -> None:
        async with running(loop) as little:
            for _ in range(3):
                await disturb(little)
                await pause(4 * PERIOD_S)
                assert little.offline() == set()
            little.silent.add(NODES[0])
            await disturb(little)
            await pause(2.5 * PERIOD_S)
            assert little.offline() == set(), "its time began anew"
            await pause(PERIOD_S)
            assert little.offline() == {NODES[0]}

    async def disturb(little: Little) -> None:
        if what == "stopped":
            little.loop.freeze(little.process)
            await pause(45)
            little.loop.thaw(little.process)
        else:
            little.store.available = False
            await pause(45)
            little.store.available = True
            little.store.wake()

    run_virtually(story)
