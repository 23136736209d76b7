"""Whether a byte of the log was changed: the log against its copy, its tree and what was signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.log_evidence import VerifiedPart
from fogbank.log.port import EventLog, LogBrokenError, StoredCommit
from fogbank.runtime.ahead import taken_ahead
from fogbank.transparency.note import Checkpoint, NoteError, read
from fogbank.transparency.tree import subtrees
from services.ledger.app.evidence import Evidence, TreeReads
from services.ledger.app.progress import Progress
from services.ledger.app.replays import KeptCommit
from services.ledger.core.log_tree import (
    LogTree,
    Node,
    TreeHead,
    hashes_from,
    nodes_completed,
    nodes_needed,
)

# The log has it, and the tables will: how long to wait for that, in seconds.
_BEHIND_S = 10.0
_SHOWN = 16
_NOTES_NAMED = 4
# Batches that may wait for their comparison, each at most `MAX_BATCH_BYTES` twice.
_AHEAD = 1


class CopyReads(Protocol):
    """The copy of the log; StoreUnavailableError when the database does not answer."""

    async def kept(self, first: int, last: int) -> Sequence[KeptCommit]:
        """Return those of the commits `first` to `last` that are there, in order."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What was signed, and why each other note can't be believed; by the size of their trees."""

    signed: Mapping[int, Checkpoint]
    bad: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some commits of the log, and what is kept of them: their copies, and nodes of the tree."""

    commits: Sequence[StoredCommit]
    copies: Sequence[KeptCommit]
    nodes: Mapping[Node, bytes]


@dataclass(slots=True)
class _Check:
    """A check under way."""

    first: int
    last: int
    tree: LogTree
    signed: Mapping[int, Checkpoint]
    part: VerifiedPart
    fits_upto: int = 0


class _FoundError(Exception):
    """Something is wrong with the log or what is kept of it, from a sequence on."""

    def __init__(self, sequence: int, problem: str) -> None:
        super().__init__(problem)
        self.sequence = sequence


class LogVerification:
    """Reads the log again and compares."""

    def __init__(
        self,
        log: EventLog,
        copy: CopyReads,
        trees: TreeReads,
        evidence: Evidence,
        progress: Progress,
    ) -> None:
        self._log = log
        self._copy = copy
        self._trees = trees
        self._evidence = evidence
        self._progress = progress

    async def verify(self, first: int, last: int) -> AsyncGenerator[VerifiedPart]:
        """Check commits and notes: as `compare`, and in the end what is wrong with the notes.

        Raises: as `compare` and `notes`.
        """
        notes = await self.notes()
        said = _said_of(notes.bad)
        part = VerifiedPart(0)
        async with aclosing(self.compare(first, last, notes.signed)) as parts:
            async for part in parts:
                yield replace(part, problem=f"{part.problem}{said}") if part.problem else part
        if said and not part.problem:
            yield replace(part, bad_sequence=min(notes.bad), problem=said.removeprefix("; "))

    async def compare(
        self, first: int, last: int, signed: Mapping[int, Checkpoint]
    ) -> AsyncGenerator[VerifiedPart]:
        """Check the commits `first` (0: the start) to `last` (0: the end); stop at what is wrong.

        Yields at once, then as it gets on. Every commit of the log must have the writer and the
        bytes that the copy has, the tree over them the nodes that were kept of it, and the roots
        that were signed.

        Raises:
            InvalidArgumentError: there are no such commits.
            LogUnavailableError, StoreUnavailableError: log or database do not answer.
            CopyDamagedError: what the tree before `first` is computed from is gone.
        """
        check = await self._begin(first, last, signed)
        yield check.part
        try:
            beyond = max(check.signed, default=0)
            if beyond > self._progress.log_sequence:
                raise _FoundError(
                    self._progress.log_sequence + 1,
                    f"a tree of {beyond} commits was signed, and the log ends before that",
                )
            # The next batches are on their way while one is hashed.
            reading = taken_ahead(self._batches(check.first, check.last), _AHEAD)
            async with aclosing(reading) as batches:
                async for batch in batches:
                    # A batch may be some MiB to hash, and the projection goes on meanwhile.
                    await asyncio.to_thread(_compare_batch, check, batch)
                    yield check.part
            if check.tree.size < check.last:
                raise _FoundError(check.tree.size + 1, "the log ends before it")
        except _FoundError as found:
            yield replace(check.part, bad_sequence=found.sequence, problem=str(found))
        except LogBrokenError as error:
            yield replace(
                check.part, bad_sequence=check.tree.size + 1, problem=f"the log is broken: {error}"
            )

    async def _begin(self, first: int, last: int, signed: Mapping[int, Checkpoint]) -> _Check:
        for name, sequence in (("from_sequence", first), ("to_sequence", last)):
            if sequence < 0:
                raise InvalidArgumentError.of_field(name, f"must not be negative, was {sequence}")
        end = max(self._progress.log_sequence, self._progress.position)
        if last > end:
            raise InvalidArgumentError.of_field(
                "to_sequence", f"must be at most {end}, the log's last sequence, was {last}"
            )
        await self._progress.reach(last, _BEHIND_S)
        first, last = first or 1, last or self._progress.position
        if first > max(last, 1):
            raise InvalidArgumentError.of_field(
                "from_sequence", f"must be at most {last}, was {first}"
            )
        tree = LogTree(await self._head_at(first - 1))
        return _Check(first, last, tree, signed, VerifiedPart(last - first + 1), first - 1)

    async def _head_at(self, size: int) -> TreeHead:
        """Return the tree as it was over so many commits, from what is kept of it."""
        nodes = subtrees(0, size)
        needed = nodes_needed(lambda hash_of: [hash_of(*node) for node in nodes])
        hash_of = hashes_from(await self._evidence.nodes(needed))
        return TreeHead(size, b"".join(hash_of(*node) for node in nodes))

    async def notes(self) -> Notes:
        """Return the signed checkpoints that are kept, and those that can't be believed.

        Raises:
            NoCheckpointsError: nobody can tell which there are.
        """
        signed, bad = {}, {}
        for size, note in sorted((await self._evidence.kept()).items()):
            if isinstance(note, OSError):
                bad[size] = f"the checkpoint of {size} commits can't be read: {note.strerror}"
                continue
            try:
                checkpoint = read(note, self._evidence.trusted)
            except NoteError as error:
                bad[size] = f"the checkpoint of {size} commits: {error}"
                continue
            if checkpoint.size == size:
                signed[size] = checkpoint
            else:
                bad[size] = f"the checkpoint of {size} commits is one of {checkpoint.size}"
        return Notes(signed, bad)

    async def _batches(self, first: int, last: int) -> AsyncGenerator[_Batch]:
        """Yield the log's commits with all that they are compared with."""
        async with aclosing(self._log.read(first, last)) as batches:
            async for commits in batches:
                begin, end = commits[0].sequence, commits[-1].sequence
                copies = await self._copy.kept(begin, end)
                nodes = await self._trees.kept(nodes_completed(begin - 1, end))
                yield _Batch(commits, copies, nodes)


def _compare_batch(check: _Check, batch: _Batch) -> None:
    copies = {copy.sequence: copy for copy in batch.copies}
    for stored in batch.commits:
        _compare(stored, copies.get(stored.sequence))
        check.tree.take(stored.writer.service, stored.writer.instance, stored.data)
        signed = check.signed.get(stored.sequence)
        if signed is not None:
            _compare_root(check, signed)
    _compare_nodes(check, batch.nodes)
    check.part = replace(check.part, checked=check.tree.size - check.first + 1)


def _compare_nodes(check: _Check, kept: Mapping[Node, bytes]) -> None:
    for level, index, hashed in sorted(check.tree.grown().nodes):
        if kept.get((level, index)) != hashed:
            first, last = (index << level) + 1, (index + 1) << level
            raise _FoundError(
                max(first, check.first),
                f"the tree's node over the commits {first} to {last} isn't what was kept of "
                "it: that was changed, or one of them in the log and its copy alike",
            )


def _compare(stored: StoredCommit, copy: KeptCommit | None) -> None:
    sequence = stored.sequence
    if copy is None:
        raise _FoundError(sequence, f"the ledger's copy of commit {sequence} is gone")
    writer = f"{stored.writer.service}/{stored.writer.instance}"
    if writer != f"{copy.service}/{copy.instance}":
        raise _FoundError(
            sequence,
            f"commit {sequence} is by {writer} in the log and by {copy.service}/{copy.instance} "
            "in the ledger's copy",
        )
    if stored.data == copy.data and stored.digest == copy.digest:
        return
    copied = sha256(copy.data).digest()
    if copied == copy.digest:
        what = "the log's commit {} was changed: its bytes have sha256 {}, those of the copy {}"
        raise _FoundError(
            sequence, what.format(sequence, _short(stored.digest), _short(copy.digest))
        )
    if stored.digest == copy.digest:
        what = "the ledger's copy of commit {} was changed: its bytes have sha256 {}, noted was {}"
    else:
        what = "commit {} or what is noted of it was changed: the copy has sha256 {}, noted was {}"
    raise _FoundError(sequence, what.format(sequence, _short(copied), _short(copy.digest)))


def _compare_root(check: _Check, signed: Checkpoint) -> None:
    if check.tree.root != signed.root:
        raise _FoundError(
            check.fits_upto + 1,
            f"one of the commits {check.fits_upto + 1} to {signed.size} was changed in the log and "
            f"its copy alike: the root over {signed.size} is {_short(check.tree.root)}, signed was "
            f"{_short(signed.root)}",
        )
    check.fits_upto = signed.size
    check.part = replace(check.part, checkpoints=check.part.checkpoints + 1)


def _said_of(bad: Mapping[int, str]) -> str:
    """Return the first problems of notes, to go on behind another one; nothing for none."""
    first = "".join(f"; {bad[size]}" for size in sorted(bad)[:_NOTES_NAMED])
    more = len(bad) - _NOTES_NAMED
    return f"{first}; and {more} more checkpoints" if more > 0 else first


def _short(digest: bytes) -> str:
    return digest.hex()[:_SHOWN]
