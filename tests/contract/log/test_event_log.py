"""What every event log does, whatever engine it stands on."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fogbank.log.port import (
    MAX_BATCH_COMMITS,
    MAX_COMMIT_BYTES,
    CommitTooLargeError,
    EventLog,
    LogRewoundError,
    LogUnavailableError,
    StaleAppendError,
    StoredCommit,
    Writer,
)
from tests.contract.log.worlds import World


async def take(batches: AsyncIterator[list[StoredCommit]], count: int) -> list[StoredCommit]:
    """Return the first `count` commits (a few more if the last batch brought them)."""
    taken: list[StoredCommit] = []
    async with asyncio.timeout(60):
        async for batch in batches:
            assert batch
            assert len(batch) <= MAX_BATCH_COMMITS
            taken += batch
            if len(taken) >= count:
                break
    return taken


async def read_all(log: EventLog) -> list[StoredCommit]:
    return [commit async for batch in log.read(1, 1_000_000) for commit in batch]


async def append_surely(log: EventLog, data: bytes) -> int:
    """Append the same bytes until the log confirms, as writers do."""
    while True:
        try:
            return await log.append(data)
        except LogUnavailableError:
            continue


async def test_an_empty_log_ends_at_zero(world: World) -> None:
    log = await world.handle()
    assert await log.last_sequence() == 0
    assert await read_all(log) == []
    assert await log.get(1) is None


async def test_appends_number_the_commits_from_one_on(world: World) -> None:
    log = await world.handle()
    assert [await log.append(data) for data in (b"a", b"b", b"c")] == [1, 2, 3]
    assert await log.last_sequence() == 3
    assert [commit.data for commit in await read_all(log)] == [b"a", b"b", b"c"]


async def test_a_commit_names_its_writer(world: World) -> None:
    await (await world.handle("one")).append(b"a")
    await (await world.handle("two", "scheduler")).append(b"b")
    writers = [commit.writer for commit in await read_all(await world.handle())]
    assert writers == [Writer("gateway", "one"), Writer("scheduler", "two")]


async def test_bytes_come_back_as_they_went_in(world: World) -> None:
    log = await world.handle()
    data = bytes(range(256)) * (MAX_COMMIT_BYTES // 256)
    sequence = await log.append(data)
    commit = await log.get(sequence)
    assert commit is not None
    assert commit.data == data
    assert [found.digest for found in await read_all(log)] == [commit.digest]


async def test_a_commit_beyond_the_limit_is_refused(world: World) -> None:
    log = await world.handle()
    with pytest.raises(CommitTooLargeError):
        await log.append(bytes(MAX_COMMIT_BYTES + 1))
    assert await log.last_sequence() == 0


async def test_an_append_on_the_expected_sequence_goes_through(world: World) -> None:
    log = await world.handle()
    assert await log.append(b"a", expected_last=0) == 1
    assert await log.append(b"b", expected_last=1) == 2


@pytest.mark.parametrize("expected_last", [0, 5])
async def test_an_append_on_another_sequence_is_stale(world: World, expected_last: int) -> None:
    log, rival = await world.handle("one"), await world.handle("two")
    await rival.append(b"first")
    with pytest.raises(StaleAppendError):
        await log.append(b"late", expected_last=expected_last)
    assert [commit.data for commit in await read_all(log)] == [b"first"]


async def test_of_two_rivals_on_one_sequence_one_gets_in(world: World) -> None:
    rivals = [await world.handle(f"rival{number}") for number in range(4)]
    results = await asyncio.gather(
        *(rival.append(rival.writer.instance.encode(), expected_last=0) for rival in rivals),
        return_exceptions=True,
    )
    assert sorted(result for result in results if isinstance(result, int)) == [1]
    assert sum(isinstance(result, StaleAppendError) for result in results) == 3


async def test_a_lost_answer_is_resolved_with_the_same_bytes(world: World) -> None:
    log = await world.handle()
    await log.append(b"before")
    sequence = await world.append_losing_the_answer(log, b"in doubt")
    again = await append_surely(log, b"in doubt")
    after = await log.append(b"after")
    commits = await read_all(log)
    assert commits[again - 1].data == b"in doubt"
    assert sequence is None or commits[sequence - 1].data == b"in doubt"
    assert commits[0].data == b"before"
    assert commits[after - 1].data == b"after"
    assert {commit.data for commit in commits[1:-1]} == {b"in doubt"}


async def test_appends_of_many_writers_make_one_order(world: World) -> None:
    logs = [await world.handle(f"writer{number}") for number in range(3)]

    async def write(log: EventLog) -> list[int]:
        return [await log.append(f"{log.writer.instance}/{n}".encode()) for n in range(50)]

    sequences = await asyncio.gather(*(write(log) for log in logs))
    assert sorted(number for own in sequences for number in own) == list(range(1, 151))
    commits = await read_all(logs[0])
    for log, own in zip(logs, sequences, strict=True):
        assert own == sorted(own)
        assert [c.sequence for c in commits if c.writer == log.writer] == own


async def test_concurrent_appends_of_one_handle_go_one_after_the_other(world: World) -> None:
    log = await world.handle()
    sequences = await asyncio.gather(*(log.append(b"%d" % number) for number in range(20)))
    assert sequences == list(range(1, 21))


@pytest.mark.parametrize("after", [0, 1, 7])
async def test_following_begins_behind_a_position(world: World, after: int) -> None:
    log = await world.handle()
    for number in range(10):
        await log.append(b"%d" % number)
    commits = await take(log.follow(after), 10 - after)
    assert [commit.sequence for commit in commits] == list(range(after + 1, 11))


async def test_a_follower_at_the_end_gets_what_comes(world: World) -> None:
    log, other = await world.handle("one"), await world.handle("two")
    await log.append(b"old")
    async with asyncio.TaskGroup() as group:
        follower = group.create_task(take(log.follow(1), 2))
        await other.append(b"new")
        await other.append(b"newer")
    assert [commit.data for commit in follower.result()] == [b"new", b"newer"]


async def test_a_long_log_comes_without_gaps(world: World) -> None:
    log = await world.handle()
    for number in range(MAX_BATCH_COMMITS + 10):
        await log.append(b"%d" % number)
    commits = await take(log.follow(0), MAX_BATCH_COMMITS + 10)
    assert [int(commit.data) for commit in commits] == list(range(MAX_BATCH_COMMITS + 10))


async def test_big_commits_come_through_a_slow_reader(world: World) -> None:
    log = await world.handle()
    count = 60
    for number in range(count):
        await log.append(b"%d " % number + bytes(MAX_COMMIT_BYTES - 10))
    seen = []
    async with asyncio.timeout(60):
        async for batch in log.follow(0):
            assert sum(len(commit.data) for commit in batch) <= 9 * 1024**2
            seen += [int(commit.data.partition(b" ")[0]) for commit in batch]
            if len(seen) == count:
                break
    assert seen == list(range(count))


async def test_a_follower_ahead_of_the_log_refuses(world: World) -> None:
    log = await world.handle()
    await log.append(b"only")
    with pytest.raises(LogRewoundError):
        await take(log.follow(2), 1)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(1, 5, [1, 2, 3, 4, 5]), (2, 3, [2, 3]), (4, 99, [4, 5]), (6, 9, []), (3, 2, [])],
)
async def test_a_range_holds_both_ends(
    world: World, first: int, last: int, expected: list[int]
) -> None:
    log = await world.handle()
    for number in range(5):
        await log.append(b"%d" % number)
    found = [commit.sequence async for batch in log.read(first, last) for commit in batch]
    assert found == expected


async def test_nothing_can_be_removed(world: World) -> None:
    log = await world.handle()
    names = {name for name in dir(log) if not name.startswith("_")}
    assert not {name for name in names if "delete" in name or "purge" in name or "update" in name}


async def test_a_known_commit_must_still_be_there(world: World) -> None:
    log, other = await world.handle("one"), await world.handle("two")
    await other.append(b"a")
    stored = await other.get(1)
    assert stored is not None
    log.must_hold(1, stored.digest)
    assert await log.append(b"b") == 2
    log.must_hold(9, stored.digest)
    with pytest.raises(LogRewoundError, match="lost commit 9"):
        await log.append(b"c")


async def test_another_commit_in_place_of_a_known_one_stops_the_writer(world: World) -> None:
    log = await world.handle()
    other = await world.handle("two")
    await other.append(b"a")
    log.must_hold(1, bytes(32))
    with pytest.raises(LogRewoundError, match="another commit 1"):
        await log.append(b"b")


async def test_the_clock_is_about_right(world: World) -> None:
    log = await world.handle()
    assert await log.clock_us() > 1_700_000_000_000_000


@pytest.mark.kill
async def test_a_follower_survives_the_death_of_the_engine(mortal_world: World) -> None:
    log, reader = await mortal_world.handle("one"), await mortal_world.handle("two")
    for number in range(5):
        await log.append(b"%d" % number)
    async with asyncio.TaskGroup() as group:
        follower = group.create_task(take(reader.follow(0), 10))
        await mortal_world.go_down()
        with pytest.raises(LogUnavailableError):
            await log.append(b"refused or in doubt")
        await mortal_world.come_back()
        for number in range(5, 10):
            await append_surely(log, b"%d" % number)
    commits = follower.result()
    assert [commit.sequence for commit in commits] == list(range(1, len(commits) + 1))
    numbers = [int(commit.data) for commit in commits if commit.data.isdigit()]
    assert numbers == list(range(10))


@pytest.mark.kill
async def test_nothing_confirmed_is_lost_by_deaths_in_mid_write(mortal_world: World) -> None:
    log, reader = await mortal_world.handle("one"), await mortal_world.handle("two")
    confirmed: dict[int, bytes] = {}
    finished = asyncio.Event()

    async def write() -> None:
        number = 0
        while not finished.is_set() or number < 50:
            number += 1
            data = b"%d" % number
            confirmed[await append_surely(log, data)] = data

    async def kill() -> None:
        for target in (10, 20, 30):
            await take(reader.follow(0), target)
            await mortal_world.go_down()
            await asyncio.sleep(0)
            await mortal_world.come_back()
        finished.set()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(write())
        group.create_task(kill())
    stored = {commit.sequence: commit.data for commit in await read_all(log)}
    assert {sequence: stored[sequence] for sequence in confirmed} == confirmed
