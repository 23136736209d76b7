"""Whether a byte of the log was changed: the log against its copy, its tree and what was signed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from msgspec.structs import astuple

from fogbank.domain.ids import digest
from fogbank.domain.log_evidence import VerifiedPart
from fogbank.log.port import EventLog, LogBrokenError, StoredCommit, Writer
from fogbank.runtime.ahead import taken_ahead
from fogbank.transparency.note import Checkpoint
from fogbank.transparency.tree import subtrees
from services.ledger.app.evidence import Evidence, Notes, TreeReads, judged
from services.ledger.app.progress import Progress
from services.ledger.app.replays import KeptCommit, span_of
from services.ledger.core.log_tree import (
    LogTree,
    Node,
    TreeHead,
    hashes_from,
    nodes_completed,
    nodes_needed,
)

_SHOWN = 16
_NOTES_NAMED = 4
# The log hands out what has arrived: a few commits. A question to the database is worth this much.
_ENOUGH_BYTES = 2 * 1024 * 1024
# Batches that may wait for their comparison.
_AHEAD = 1

_MEND_STORE = "`fog audit restore` mends one store from the other"
_MEND_LOG = "`fog audit restore` fills the log from its copy"
_MEND_TREE = (
    "where all signed checkpoints fit, no commit was changed, and `fog audit rebuild` makes the "
    "node again from the copy"
)
_MEND_BOTH = (
    "restore one of the two stores from a backup, then `fog audit restore` mends the other from it"
)


class CopyReads(Protocol):
    """The copy of the log; StoreUnavailableError when the database does not answer."""

    async def kept(self, first: int, last: int) -> Sequence[KeptCommit]:
        """Return those of the commits `first` to `last` that are there, in order."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Some commits of the log, and what is kept of them: their copies, and nodes of the tree."""

    commits: Sequence[StoredCommit]
    copies: Sequence[KeptCommit]
    nodes: Mapping[Node, bytes]


@dataclass(frozen=True, slots=True)
class Compared:
    """How far a comparison got; where `part` names a problem, `advice` says what mends it."""

    part: VerifiedPart
    advice: str = ""


@dataclass(slots=True)
class _Check:
    """A check under way."""

    first: int
    last: int
    tree: LogTree
    signed: Mapping[int, Checkpoint]
    part: VerifiedPart
    fits_upto: int = 0
    # Whether the tree is over the commits as they were, as far as the two stores can tell.
    tree_known: bool = True

    def wrong(self, sequence: int, problem: str, advice: str) -> Compared:
        """Return that something is wrong, as far as the check got until then."""
        return Compared(replace(self.part, bad_sequence=sequence, problem=problem), advice)


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
        """Check commits and notes; stop at what is wrong, and say what is wrong with the notes.

        Raises: as `compare` and `notes`.
        """
        notes = await self.notes()
        said = _said_of(notes.bad)
        part = VerifiedPart(0)
        async with aclosing(self.compare(first, last, notes.signed)) as compared:
            async for each in compared:
                part = each.part
                if part.problem:
                    yield replace(part, problem=f"{part.problem}{said}")
                    return
                yield part
        if said:
            yield replace(part, bad_sequence=min(notes.bad), problem=said.removeprefix("; "))

    async def compare(
        self, first: int, last: int, signed: Mapping[int, Checkpoint]
    ) -> AsyncGenerator[Compared]:
        """Check the commits `first` (0: the start) to `last` (0: the end), whatever is wrong.

        Yields at once, then as it gets on and each time that something is wrong. Every commit of
        the log must have the writer and the bytes that the copy has, the tree over them the nodes
        that were kept of it, and the roots that were signed.

        Raises:
            InvalidArgumentError: there are no such commits.
            LogUnavailableError, StoreUnavailableError: log or database do not answer.
            CopyDamagedError: what the tree before `first` is computed from is gone.
        """
        check = await self._begin(first, last, signed)
        yield Compared(check.part)
        beyond = max(check.signed, default=0)
        if beyond > self._progress.log_sequence:
            yield check.wrong(
                self._progress.log_sequence + 1,
                f"a tree of {beyond} commits was signed, and the log ends before that",
                _MEND_LOG,
            )
        while check.tree.size < check.last:
            try:
                # The next batches are on their way while one is hashed: some milliseconds in which
                # nobody else has a turn. In another thread it would wait for its turns itself.
                reading = taken_ahead(self._batches(check.tree.size + 1, check.last), _AHEAD)
                async with aclosing(reading) as batches:
                    async for batch in batches:
                        for each in _compare_batch(check, batch):
                            yield each
                if check.tree.size < check.last:
                    yield check.wrong(check.tree.size + 1, "the log ends before it", _MEND_LOG)
                    return
            except LogBrokenError as error:
                missing = check.tree.size + 1
                yield check.wrong(missing, f"the log is broken: {error}", _MEND_LOG)
                copies = await self._copy.kept(missing, missing)
                if not copies:
                    return
                check.tree.take(copies[0].service, copies[0].instance, digest(copies[0].data))

    async def _begin(self, first: int, last: int, signed: Mapping[int, Checkpoint]) -> _Check:
        span = await span_of(self._progress, first, last)
        first, last = span.first, span.last
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
        return judged(await self._evidence.kept(), self._evidence.trusted)

    async def _batches(self, first: int, last: int) -> AsyncGenerator[_Batch]:
        """Yield the log's commits with all that they are compared with."""
        async with aclosing(self._log.read(first, last)) as batches:
            async for commits in _gathered(batches):
                begin, end = commits[0].sequence, commits[-1].sequence
                copies = await self._copy.kept(begin, end)
                nodes = await self._trees.kept(nodes_completed(begin - 1, end))
                yield _Batch(commits, copies, nodes)


async def _gathered(
    batches: AsyncGenerator[Sequence[StoredCommit]],
) -> AsyncGenerator[list[StoredCommit]]:
    """Yield what the log hands out, enough at once to be worth a question to the database.

    What came before an error is yielded first.
    """
    gathered: list[StoredCommit] = []
    size = 0
    try:
        async for batch in batches:
            for commit in batch:
                gathered.append(commit)
                size += len(commit.data)
                if size >= _ENOUGH_BYTES:
                    yield gathered
                    gathered, size = [], 0
    except LogBrokenError:
        if gathered:
            yield gathered
        raise
    if gathered:
        yield gathered


def _compare_batch(check: _Check, batch: _Batch) -> list[Compared]:
    """Return what is wrong with a batch, and in the end how far the check is."""
    copies = {copy.sequence: copy for copy in batch.copies}
    found: list[Compared] = []
    for stored in batch.commits:
        copy = copies.get(stored.sequence)
        good: StoredCommit | None = stored
        problem = _problem_of(stored, copy)
        if problem:
            found.append(check.wrong(stored.sequence, problem, _MEND_STORE))
            # The tree grows on over what was there, so that one wrong commit is one finding.
            good = _as_it_was(stored, copy)
            check.tree_known &= good is not None
        good = good or stored
        check.tree.take(good.writer.service, good.writer.instance, good.digest)
        signed = check.signed.get(stored.sequence)
        if signed is not None:
            found += _compare_root(check, signed)
    found += _compare_nodes(check, batch.nodes)
    check.part = replace(check.part, checked=check.tree.size - check.first + 1)
    return [*found, Compared(check.part)]


def _compare_nodes(check: _Check, kept: Mapping[Node, bytes]) -> Iterator[Compared]:
    for level, index, hashed in sorted(map(astuple, check.tree.grown().nodes)):
        if check.tree_known and kept.get((level, index)) != hashed:
            first, last = (index << level) + 1, (index + 1) << level
            yield check.wrong(
                max(first, check.first),
                f"the tree's node over the commits {first} to {last} isn't what was kept of "
                "it: that was changed or lost, or one of them changed in the log and its copy "
                "alike",
                _MEND_TREE,
            )


def _problem_of(stored: StoredCommit, copy: KeptCommit | None) -> str:
    """Return what is wrong with a commit in one of the stores; empty if nothing is."""
    sequence = stored.sequence
    if copy is None:
        return f"the ledger's copy of commit {sequence} is gone"
    writer = f"{stored.writer.service}/{stored.writer.instance}"
    if writer != f"{copy.service}/{copy.instance}":
        return (
            f"commit {sequence} is by {writer} in the log and by {copy.service}/{copy.instance} "
            "in the ledger's copy"
        )
    if stored.data == copy.data and stored.digest == copy.digest:
        return ""
    copied = sha256(copy.data).digest()
    if copied == copy.digest:
        what = "the log's commit {} was changed: its bytes have sha256 {}, those of the copy {}"
        return what.format(sequence, _short(stored.digest), _short(copy.digest))
    if stored.digest == copy.digest:
        what = "the ledger's copy of commit {} was changed: its bytes have sha256 {}, noted was {}"
    else:
        what = "commit {} or what is noted of it was changed: the copy has sha256 {}, noted was {}"
    return what.format(sequence, _short(copied), _short(copy.digest))


def _as_it_was(stored: StoredCommit, copy: KeptCommit | None) -> StoredCommit | None:
    """Return a commit that is wrong in one of the stores as it was, None if they can't tell."""
    if copy is None:
        # Nothing tells but the tree.
        return stored
    if stored.writer != Writer(copy.service, copy.instance):
        return None
    if stored.digest == copy.digest:
        return stored
    return replace(stored, data=copy.data) if sha256(copy.data).digest() == copy.digest else None


def _compare_root(check: _Check, signed: Checkpoint) -> Iterator[Compared]:
    if check.tree.root == signed.root:
        check.fits_upto = signed.size
        check.part = replace(check.part, checkpoints=check.part.checkpoints + 1)
        return
    if not check.tree_known:
        return
    yield check.wrong(
        check.fits_upto + 1,
        f"one of the commits {check.fits_upto + 1} to {signed.size} was changed in the log and "
        f"its copy alike: the root over {signed.size} is {_short(check.tree.root)}, signed was "
        f"{_short(signed.root)}",
        _MEND_BOTH,
    )
    # No later root fits either.
    check.signed = {}


def _said_of(bad: Mapping[int, str]) -> str:
    """Return the first problems of notes, to go on behind another one; nothing for none."""
    first = "".join(f"; {bad[size]}" for size in sorted(bad)[:_NOTES_NAMED])
    more = len(bad) - _NOTES_NAMED
    return f"{first}; and {more} more checkpoints" if more > 0 else first


def _short(digest: bytes) -> str:
    return digest.hex()[:_SHOWN]
