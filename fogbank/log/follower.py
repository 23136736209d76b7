"""The log as commits instead of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from fogbank.codec import CodecError, decode_commit
from fogbank.domain.envelope import Commit
from fogbank.log.port import EventLog, StoredCommit

# Decoding so many bytes takes some milliseconds; then others get their turn.
_BYTES_AT_ONCE = 256 * 1024


async def follow_commits(log: EventLog, after: int) -> AsyncGenerator[list[Commit]]:
    """Yield every commit after sequence `after`, decoded, in order, without gaps, forever.

    Raises:
        CodecError: a commit that cannot be decoded, or an unknown event; all commits before it
            were yielded.
        LogGapError, LogRewoundError: as `EventLog.follow`.
    """
    async with aclosing(log.follow(after)) as batches:
        async for batch in batches:
            for piece in _pieces(batch):
                async for commits in _decoded(piece):
                    yield commits


async def read_commits(log: EventLog, first: int, last: int) -> AsyncGenerator[list[Commit]]:
    """Yield the commits `first` to `last` decoded, both included; ends where the log ends.

    Raises: as `follow_commits`.
    """
    async with aclosing(log.read(first, last)) as batches:
        async for batch in batches:
            for piece in _pieces(batch):
                async for commits in _decoded(piece):
                    yield commits


def decode(stored: StoredCommit) -> Commit:
    """Return what a stored commit says.

    Raises:
        CodecError: it cannot be decoded.
    """
    return decode_commit(
        stored.sequence, stored.writer.service, stored.writer.instance, stored.data
    )


async def _decoded(piece: list[StoredCommit]) -> AsyncGenerator[list[Commit]]:
    commits: list[Commit] = []
    failure: CodecError | None = None
    for stored in piece:
        try:
            commit = decode(stored)
        except CodecError as error:
            failure = error
            break
        commits.append(commit)
    if commits:
        yield commits
    if failure is not None:
        raise failure
    await asyncio.sleep(0)


def _pieces(batch: list[StoredCommit]) -> Iterable[list[StoredCommit]]:
    piece: list[StoredCommit] = []
    size = 0
    for stored in batch:
        piece.append(stored)
        size += len(stored.data)
        if size >= _BYTES_AT_ONCE:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
