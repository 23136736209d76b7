"""Faults between agent and gateway, at random and repeatable: no hole in what is reported."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest

from fogbank.domain.states import ReplicaState
from fogbank.v1.deployments_pb2 import RestartPolicy
from tests.support.agent_process import agent_process
from tests.support.agents import RunningAgent, running_agent
from tests.support.fake_gateway import FakeGateway, FakeNode
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.waiting import eventually

STEPS = 6
BREAKS = ("cut", "half open", "deaf", "refusing", "agent restarts", "gateway hangs up")
SLOWS = ("delayed", "dripping")
FAULTS = ("none", *BREAKS, *SLOWS)
# What only a process of its own can suffer.
HARD_FAULTS = ("agent killed", "agent stands still")
QUICK_PROCESS = {
    "FOG_NODE_NAME": "node-1",
    "FOG_RECONNECT_FIRST_MS": "10",
    "FOG_RECONNECT_LONGEST_MS": "100",
    "FOG_SIMULATED_START_MS": "1",
}


class _Schedule:
    """One agent, one gateway, a proxy between them, and what a seed has happen."""

    def __init__(self, seed: int, folder: Path, gateway: FakeGateway, proxy: FaultProxy) -> None:
        self._random = Random(seed)
        self._folder = folder
        self._gateway = gateway
        self._proxy = proxy
        self._agent: RunningAgent | None = None
        self._stack = AsyncExitStack()
        self.faults: tuple[str, ...] = FAULTS
        self.happened: list[str] = []
        self.replicas: dict[str, set[ReplicaState]] = {}

    @property
    def node(self) -> FakeNode:
        return self._gateway.node("node-1")

    async def run(self) -> None:
        try:
            await self._start()
            for number in range(STEPS):
                await self._step(number)
            await eventually(self._all_told, what=f"every end: {self.happened}")
        finally:
            await self._stack.aclose()

    async def _start(self) -> None:
        address = f"127.0.0.1:{self._proxy.port}"
        self._agent = await self._stack.enter_async_context(
            running_agent(self._folder, [address], seed=len(self.happened))
        )
        await eventually(lambda: self._gateway.connected("node-1"), what=str(self.happened))

    async def _step(self, number: int) -> None:
        replica_id = f"r-{number}"
        image, states = self._random.choice(
            [
                ("nginx", {ReplicaState.RUNNING}),
                ("simulated/job:5", {ReplicaState.COMPLETE}),
                ("simulated/exit:3", {ReplicaState.FAILED}),
            ]
        )
        self.replicas[replica_id] = states
        never = RestartPolicy.RESTART_POLICY_NEVER
        self._gateway.assign(self.node, replica_id, image, never)
        if self._random.random() < 0.5:
            await eventually(lambda: self._knows(replica_id), what=replica_id)
        fault = self._random.choice(self.faults)
        self.happened.append(f"{replica_id} {image}, {fault}")
        epoch = self.node.epoch
        await self._befall(fault)
        if fault in {*BREAKS, *HARD_FAULTS}:
            await eventually(
                lambda: self.node.epoch > epoch and self._gateway.connected("node-1"),
                what=str(self.happened),
            )

    def _knows(self, replica_id: str) -> bool:
        """Whether the agent knows of a replica."""
        assert self._agent is not None
        return self._agent.agent.core.state_of(replica_id) is not None

    async def _befall(self, fault: str) -> None:
        proxy = self._proxy
        # What is slow stays so until the next step.
        proxy.delay_s = self._random.uniform(0.01, 0.05) if fault == "delayed" else 0.0
        proxy.drip_bytes = self._random.randint(1, 20) if fault == "dripping" else 0
        if fault == "agent restarts":
            await self._stack.aclose()
            await self._start()
        elif fault == "gateway hangs up":
            self._gateway.hang_up()
        elif fault in BREAKS:
            proxy.swallow_answers = fault == "half open"
            proxy.swallow_requests = fault == "deaf"
            if proxy.swallow_answers or proxy.swallow_requests:
                # Something has to get lost: a new replica makes both sides talk.
                lost = proxy.swallowed_bytes
                self._assign_extra()
                await eventually(lambda: proxy.swallowed_bytes > lost, what="what gets lost")
            proxy.refuse = fault == "refusing"
            proxy.cut()
            proxy.refuse = False

    def _assign_extra(self) -> None:
        self._gateway.assign(self.node, extra := f"x-{len(self.happened)}", "nginx")
        self.replicas[extra] = {ReplicaState.RUNNING}

    def _all_told(self) -> bool:
        return all(
            any(self.node.is_in(replica_id, state) for state in states)
            for replica_id, states in self.replicas.items()
        )


class _HardSchedule(_Schedule):
    """The same with an agent that is a process: it is killed, and stands still, as well."""

    def __init__(self, seed: int, folder: Path, gateway: FakeGateway, proxy: FaultProxy) -> None:
        super().__init__(seed, folder, gateway, proxy)
        self.faults = (*FAULTS, *HARD_FAULTS, *HARD_FAULTS)
        self._process: asyncio.subprocess.Process | None = None

    async def _start(self) -> None:
        address, epoch = f"127.0.0.1:{self._proxy.port}", self._epoch
        self._process = await self._stack.enter_async_context(
            agent_process(self._folder, address, **QUICK_PROCESS)
        )
        await eventually(
            lambda: self._epoch > epoch and self._gateway.connected("node-1"),
            what=str(self.happened),
        )

    @property
    def _epoch(self) -> int:
        return sum(node.epoch for node in self._gateway.nodes.values())

    def _knows(self, replica_id: str) -> bool:
        return self.node.last(replica_id) is not None

    async def _befall(self, fault: str) -> None:
        process = self._process
        assert process is not None
        match fault:
            case "agent restarts":
                process.send_signal(signal.SIGTERM)
                await process.wait()
                await super()._befall(fault)
            case "agent killed":
                # The stack's end is a kill; what was on its way to the disk or the gateway is lost.
                await super()._befall("agent restarts")
            case "agent stands still":
                process.send_signal(signal.SIGSTOP)
                self._assign_extra()
                self._gateway.hang_up()
                process.send_signal(signal.SIGCONT)
            case _:
                await super()._befall(fault)


async def _nothing_is_missing_or_told_twice(
    seed: int, folder: Path, kind: type[_Schedule] = _Schedule
) -> None:
    async with FakeGateway() as gateway:
        host, _, port = gateway.address.rpartition(":")
        async with fault_proxy(host, int(port)) as proxy:
            schedule = kind(seed, folder, gateway, proxy)
            await schedule.run()
            node = schedule.node
            numbers = [report.number for report in node.accepted]
            assert numbers == list(range(1, len(numbers) + 1)), schedule.happened
            for replica_id in schedule.replicas:
                seen = [
                    (each.restart_count, each.state, each.observed_at_us)
                    for each in node.observations
                    if each.replica_id == replica_id
                ]
                # Who is still told to run what ended is told its end again, as it was.
                while len(seen) > 1 and seen[-1] == seen[-2]:
                    seen.pop()
                assert seen == sorted(set(seen)), (replica_id, schedule.happened)
                assert len({state for _, state, _ in seen}) == len(seen), schedule.happened


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_nothing_is_missing_or_told_twice(seed: int, tmp_path: Path) -> None:
    await _nothing_is_missing_or_told_twice(seed, tmp_path)


@pytest.mark.kill
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_nor_when_the_agent_is_killed_or_stands_still(seed: int, tmp_path: Path) -> None:
    await _nothing_is_missing_or_told_twice(seed, tmp_path, _HardSchedule)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 110))
async def test_nor_under_a_hundred_other_schedules_with_kills(seed: int, tmp_path: Path) -> None:
    await _nothing_is_missing_or_told_twice(seed, tmp_path, _HardSchedule)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 110))
async def test_nor_under_a_hundred_other_schedules(seed: int, tmp_path: Path) -> None:
    await _nothing_is_missing_or_told_twice(seed, tmp_path)
