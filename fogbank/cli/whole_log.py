"""A whole log read from the broker and checked: what `fog audit` and tests do."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fogbank.checker import Acknowledged, LogChecker, LogCommit, Report
from fogbank.log.jetstream import JetStreamLog
from fogbank.log.nats_connection import NatsCredentials, connect
from fogbank.log.port import EventLog, Writer
from fogbank.log.stream import StreamName

# Nothing is ever appended under this name.
_READER = Writer("audit", "check")
_NAME = "fog audit"
_BYTES_AT_ONCE = 256 * 1024


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where a log is: the broker, the fleet and its generation, and the first sequence due."""

    url: str
    credentials: NatsCredentials | None = None
    fleet: str = "default"
    generation: int = 1
    first_sequence: int = 1


async def check_source(
    source: LogSource,
    acknowledged: Iterable[Acknowledged] = (),
    *,
    settled: bool = False,
    progress: Callable[[int, int], None] | None = None,
    timeout_s: float = 10,
) -> Report:
    """Read a log from the broker up to its present end, and check it.

    `progress` gets the sequence that was read and the last one. `timeout_s` is how long to try to
    connect.

    Raises:
        LogUnavailableError: no broker, or no such log there.
        LogGapError: the broker itself has lost a commit.
    """
    async with open_source(source, timeout_s) as log:
        return await check_event_log(
            log,
            acknowledged,
            settled=settled,
            first_sequence=source.first_sequence,
            progress=progress,
        )


@asynccontextmanager
async def open_source(source: LogSource, timeout_s: float = 10) -> AsyncGenerator[EventLog]:
    """Connect to a log, to read it.

    Raises:
        LogUnavailableError: no broker, or no such log there.
    """
    name = StreamName(source.fleet, source.generation)
    async with connect(source.url, _NAME, source.credentials, timeout_s=timeout_s) as connection:
        yield JetStreamLog(connection, name, _READER)


async def check_event_log(
    log: EventLog,
    acknowledged: Iterable[Acknowledged] = (),
    *,
    settled: bool = False,
    first_sequence: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check any log from `first_sequence` to its present end; as `check_source`."""
    checker = LogChecker(acknowledged, first_sequence=first_sequence)
    last = await log.last_sequence()
    taken = 0
    async for batch in log.read(first_sequence, last):
        for stored in batch:
            writer = stored.writer
            checker.take(LogCommit(stored.sequence, writer.service, writer.instance, stored.data))
            taken += len(stored.data)
            if taken >= _BYTES_AT_ONCE:
                # The connection wants its turn, or the broker takes us for dead.
                taken = 0
                await asyncio.sleep(0)
        if progress is not None:
            progress(batch[-1].sequence, last)
    return checker.finish(settled=settled)
