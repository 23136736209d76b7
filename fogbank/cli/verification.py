"""A log's decisions derived again from the broker: what `fog audit verify --decisions` does."""

from collections.abc import Callable

from fogbank.cli.whole_log import LogSource, open_source
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.rederived import Span, Verification
from fogbank.log.follower import read_commits
from fogbank.log.port import EventLog
from fogbank.placement.rederive import SpanRederiver


async def verify_source(
    source: LogSource,
    progress: Callable[[int, int], None] | None = None,
    *,
    first: int = 1,
    last: int = 0,
) -> Verification:
    """Read a log from the broker; as `verify_event_log`."""
    async with open_source(source) as log:
        return await verify_event_log(log, progress, first=first, last=last)


async def verify_event_log(
    log: EventLog,
    progress: Callable[[int, int], None] | None = None,
    *,
    first: int = 1,
    last: int = 0,
) -> Verification:
    """Derive the rounds that count from `first` to `last` again (0: the log's present end).

    `progress` gets the sequence that was read and the last one.

    Raises:
        InvalidArgumentError: there are no such commits.
        CodecError: a commit that this release can't read.
        LogUnavailableError, LogBrokenError: as the log's `read`.
    """
    end = await log.last_sequence()
    span = Span(first, last or end)
    if span.last > end or (end and span.first > span.last):
        raise InvalidArgumentError(
            f"sequences {first} to {span.last} were asked for, and the log has 1 to {end}"
        )
    verification, rederiver = Verification(), SpanRederiver(span)
    async for commits in read_commits(log, 1, span.last):
        verification.take(rederiver.take(commits))
        if progress is not None:
            progress(commits[-1].sequence, span.last)
    return verification
