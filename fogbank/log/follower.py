"""The log as commits instead of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from fogbank.codec import CodecError, decode_commit, encode_commit, encode_envelope
from fogbank.domain.envelope import Commit, EventEnvelope
from fogbank.domain.ids import digest
from fogbank.log.port import EventLog, StoredCommit

# Decoding so many bytes takes some milliseconds; then others get their turn.
_BYTES_AT_ONCE = 256 * 1024


class OwnCommit:
    """What a writer appended last: where the log hands out the very same bytes, they are known."""

    def __init__(self) -> None:
        """Begin with nothing appended."""
        self._data = b""
        self._appended_at_us = 0
        self._envelopes: tuple[EventEnvelope, ...] = ()

    def encode(self, appended_at_us: int, envelope: EventEnvelope) -> bytes:
        """Return the bytes of a commit that is to be appended, and remember what they say."""
        data = encode_commit(appended_at_us, [encode_envelope(envelope)])
        self._data, self._appended_at_us, self._envelopes = data, appended_at_us, (envelope,)
        return data

    def decode(self, stored: StoredCommit) -> Commit:
        """Return what a stored commit says, as `decode` does."""
        if stored.data != self._data:
            return decode(stored)
        return Commit(
            stored.sequence,
            stored.writer.service,
            stored.writer.instance,
            digest(stored.data),
            self._appended_at_us,
            self._envelopes,
        )


async def follow_commits(
    log: EventLog, after: int, own: OwnCommit | None = None
) -> AsyncGenerator[list[Commit]]:
    """Yield every commit after sequence `after`, decoded, in order, without gaps, forever.

    `own` saves decoding what the caller itself appended last.

    Raises:
        CodecError: a commit that cannot be decoded, or an unknown event; all commits before it
            were yielded.
        LogGapError, LogRewoundError: as `EventLog.follow`.
    """
    reading = own.decode if own is not None else decode
    async with aclosing(log.follow(after)) as batches:
        async for batch in batches:
            for piece in _pieces(batch):
                async for commits in _decoded(piece, reading):
                    yield commits


async def read_commits(log: EventLog, first: int, last: int) -> AsyncGenerator[list[Commit]]:
    """Yield the commits `first` to `last` decoded, both included; ends where the log ends.

    Raises: as `follow_commits`.
    """
    async with aclosing(log.read(first, last)) as batches:
        async for batch in batches:
            for piece in _pieces(batch):
                async for commits in _decoded(piece, decode):
                    yield commits


def decode(stored: StoredCommit) -> Commit:
    """Return what a stored commit says.

    Raises:
        CodecError: it cannot be decoded.
    """
    return decode_commit(
        stored.sequence, stored.writer.service, stored.writer.instance, stored.data
    )


async def _decoded(
    piece: list[StoredCommit], reading: Callable[[StoredCommit], Commit]
) -> AsyncGenerator[list[Commit]]:
    commits: list[Commit] = []
    failure: CodecError | None = None
    for stored in piece:
        try:
            commit = reading(stored)
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
