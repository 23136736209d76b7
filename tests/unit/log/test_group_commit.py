"""Group commit: one in flight, the rest collects, and nobody is told what isn't so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fogbank.codec import decode_commit
from fogbank.domain.envelope import Commit, EventEnvelope
from fogbank.domain.errors import ResourceExhaustedError
from fogbank.domain.events import DeploymentDeleted
from fogbank.log.group_commit import GroupCommit
from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import (
    MAX_COMMIT_BYTES,
    CommitTooLargeError,
    LogFullError,
    LogUnavailableError,
    Writer,
)
from fogbank.runtime.clock import ManualClock
from tests.support.waiting import eventually


def event(name: str, padding: int = 0) -> EventEnvelope:
    return EventEnvelope(
        event_id=name,
        event=DeploymentDeleted(name),
        aggregate=f"deployment/{name}",
        actor="user/test" + "x" * padding,
        occurred_at_us=1,
    )


class GatedLog(MemoryLog):
    """Holds appends back until the gate opens, and can refuse them."""

    def __init__(self, store: MemoryStore, writer: Writer) -> None:
        super().__init__(store, writer)
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = 0
        self.refusal: Exception | None = None

    async def append(self, data: bytes, *, expected_last: int | None = None) -> int:
        self.started += 1
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        return await super().append(data, expected_last=expected_last)


class Bench:
    def __init__(self, **options: int) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(self.clock.now_us)
        self.log = GatedLog(self.store, Writer("gateway", "one"))
        self.gate = GroupCommit(self.log, self.clock, **options)

    def commits(self) -> list[Commit]:
        return [
            decode_commit(stored.sequence, "gateway", "one", stored.data)
            for stored in self.store.commits
        ]

    def names(self) -> list[list[str]]:
        return [[item.event_id for item in commit.envelopes] for commit in self.commits()]


@asynccontextmanager
async def running(**options: int) -> AsyncIterator[Bench]:
    bench = Bench(**options)
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(bench.gate.run())
        yield bench
        bench.log.gate.set()
        loop.cancel()


async def test_one_append_makes_one_commit() -> None:
    async with running() as bench:
        assert await bench.gate.append([event("a"), event("b")]) == (1, 0)
        assert bench.names() == [["a", "b"]]


async def test_what_arrives_in_flight_makes_the_next_commit() -> None:
    async with running() as bench, asyncio.TaskGroup() as group:
        bench.log.gate.clear()
        first = group.create_task(bench.gate.append([event("a")]))
        await eventually(lambda: bench.log.started == 1)
        others = [
            group.create_task(bench.gate.append([event(f"{n}x"), event(f"{n}y")])) for n in range(3)
        ]
        await asyncio.sleep(0)
        assert bench.log.started == 1
        bench.log.gate.set()
        await asyncio.wait([first, *others])
        assert first.result() == (1, 0)
        assert [task.result() for task in others] == [(2, 0), (2, 2), (2, 4)]
        assert bench.names() == [["a"], ["0x", "0y", "1x", "1y", "2x", "2y"]]


async def test_a_commit_stays_within_its_limit_and_splits_no_caller() -> None:
    async with running() as bench, asyncio.TaskGroup() as group:
        bench.log.gate.clear()
        group.create_task(bench.gate.append([event("first")]))
        await eventually(lambda: bench.log.started == 1)
        for number in range(10):
            envelopes = [event(f"{number}/{part}", padding=50_000) for part in range(2)]
            group.create_task(bench.gate.append(envelopes))
        await asyncio.sleep(0)
        bench.log.gate.set()
        await bench.gate.drain()
        assert max(len(commit.data) for commit in bench.store.commits) <= MAX_COMMIT_BYTES
        assert [len(names) for names in bench.names()] == [1, 10, 10]


async def test_too_much_for_one_commit_is_refused_at_once() -> None:
    async with running() as bench:
        with pytest.raises(CommitTooLargeError):
            await bench.gate.append([event("big", padding=MAX_COMMIT_BYTES)])
        with pytest.raises(ValueError, match="at least one"):
            await bench.gate.append([])
        assert bench.store.commits == []


async def test_a_full_backlog_pushes_back() -> None:
    async with running(max_backlog_bytes=1_000) as bench, asyncio.TaskGroup() as group:
        bench.log.gate.clear()
        group.create_task(bench.gate.append([event("flying")]))
        await eventually(lambda: bench.log.started == 1)
        group.create_task(bench.gate.append([event("waiting", padding=700)]))
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError) as caught:
            await bench.gate.append([event("too much", padding=700)])
        assert caught.value.reason == "LOG_BACKLOG_FULL"
        assert caught.value.retry_after_ms
        bench.log.gate.set()


async def test_the_instant_never_falls() -> None:
    async with running() as bench:
        await bench.gate.append([event("a")])
        bench.clock.step(-1.5)
        await bench.gate.append([event("b")])
        bench.clock.step(2)
        await bench.gate.append([event("c")])
        instants = [commit.appended_at_us for commit in bench.commits()]
        assert instants[0] == instants[1]
        assert instants[2] == instants[0] + 500_000


async def test_a_lost_answer_is_unknown_to_the_caller_and_closes_the_writer_until_resolved() -> (
    None
):
    async with running() as bench:
        bench.store.lose_acks = 2
        with pytest.raises(LogUnavailableError, match="may still take effect"):
            await bench.gate.append([event("in doubt")])
        assert not bench.gate.is_open
        with pytest.raises(LogUnavailableError, match="nothing was written"):
            await bench.gate.append([event("later")])
        await eventually(lambda: bench.gate.is_open)
        await bench.gate.append([event("after")])
        # The same bytes, perhaps several times, and nothing between or before them.
        assert bench.names() == [["in doubt"]] * 3 + [["after"]]
        assert len({commit.data for commit in bench.store.commits[:3]}) == 1


async def test_who_waits_behind_a_doubtful_commit_was_not_written() -> None:
    async with running() as bench, asyncio.TaskGroup() as group:
        bench.log.gate.clear()
        bench.store.lose_appends = 1
        doubtful = group.create_task(outcome(bench.gate, "doubtful"))
        await eventually(lambda: bench.log.started == 1)
        behind = group.create_task(outcome(bench.gate, "behind"))
        await asyncio.sleep(0)
        bench.log.gate.set()
        assert "may still take effect" in str(await doubtful)
        assert "nothing was written" in str(await behind)
        await eventually(lambda: bench.gate.is_open)
        assert bench.names() == [["doubtful"]]


async def outcome(gate: GroupCommit, name: str) -> object:
    try:
        return await gate.append([event(name)])
    except LogUnavailableError as error:
        return error


async def test_a_certain_refusal_leaves_the_writer_open() -> None:
    async with running() as bench:
        bench.log.refusal = LogFullError("full", retry_after_ms=60_000)
        with pytest.raises(LogFullError):
            await bench.gate.append([event("a")])
        assert bench.gate.is_open
        bench.log.refusal = None
        assert await bench.gate.append([event("b")]) == (1, 0)


async def test_a_cancelled_caller_withdraws_what_was_not_sent() -> None:
    async with running() as bench, asyncio.TaskGroup() as group:
        bench.log.gate.clear()
        group.create_task(bench.gate.append([event("flying")]))
        await eventually(lambda: bench.log.started == 1)
        gone = group.create_task(bench.gate.append([event("gone")]))
        stays = group.create_task(bench.gate.append([event("stays")]))
        await asyncio.sleep(0)
        gone.cancel()
        bench.log.gate.set()
        assert await stays == (2, 0)
        assert bench.names() == [["flying"], ["stays"]]


async def test_a_writer_outlives_callers_who_all_gave_up() -> None:
    async with running() as bench:
        # The only one who waits goes before the loop gets to it.
        gone = asyncio.ensure_future(bench.gate.append([event("a")]))
        await asyncio.sleep(0)
        gone.cancel()
        await bench.gate.drain()
        assert await outcome(bench.gate, "b") == (1, 0)
        assert len(bench.store.commits) == 1


@pytest.mark.parametrize("off_s", [2.5, -2.5])
async def test_a_wrong_clock_refuses_to_write(off_s: float) -> None:
    async with running() as bench:
        broker_us = bench.clock.now_us()
        bench.store.clock_us = lambda: broker_us
        await bench.gate.append([event("fine")])
        bench.clock.step(off_s)
        with pytest.raises(LogUnavailableError, match="clock") as caught:
            await bench.gate.append([event("refused")])
        assert caught.value.reason == "CLOCK_OFF"
        bench.clock.step(-off_s)
        await bench.gate.append([event("fine again")])
        assert bench.names() == [["fine"], ["fine again"]]


async def test_a_log_that_is_down_refuses_without_writing() -> None:
    async with running() as bench:
        bench.store.available = False
        with pytest.raises(LogUnavailableError, match="nothing was written"):
            await bench.gate.append([event("a")])
        bench.store.available = True
        assert await bench.gate.append([event("b")]) == (1, 0)


async def test_stopping_answers_everyone() -> None:
    bench = Bench()
    bench.log.gate.clear()
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(bench.gate.run())
        flying = group.create_task(outcome(bench.gate, "flying"))
        await eventually(lambda: bench.log.started == 1)
        waiting = group.create_task(outcome(bench.gate, "waiting"))
        await asyncio.sleep(0)
        loop.cancel()
    assert "may still take effect" in str(flying.result())
    assert "nothing was written" in str(waiting.result())
    assert "nothing was written" in str(await outcome(bench.gate, "too late"))
