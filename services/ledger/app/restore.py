"""Two copies that heal each other: the broker's log refilled from the database's copy of it.

First both are read side by side and each commit is looked at; that alone changes nothing. Then the
log is closed, so that nobody is served from a shorter one, what it held behind the copy's end is
set aside, it is filled, read again and compared, and only then opened. A restore that was ended at
any place is begun again by the next one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from fogbank.domain.errors import FailedPreconditionError
from fogbank.log.port import StoredCommit
from fogbank.transparency.note import Checkpoint as SignedTree
from services.ledger.app.closing import Closable, closed
from services.ledger.app.findings import Findings, as_it_was, as_stored
from services.ledger.app.ports import Checkpoint
from services.ledger.app.replays import KeptCommit
from services.ledger.core.log_tree import LogTree, TreeHead

# So many commits are compared at a time; each may be half a MiB.
_WINDOW = 100
_WHY_CLOSED = "it is being refilled from the ledger's copy of it (`fog audit restore`)"
_BATCH_COMMITS = 500
_BATCH_BYTES = 4 * 1024 * 1024

# Gets what is being done, how far it is and how far it goes.
Tell = Callable[[str, int, int], None]


class RestoreRefusedError(FailedPreconditionError):
    """The log can't be restored as it was, or not without leave to; nothing was changed."""

    default_reason = "RESTORE_REFUSED"


class Stream(Closable, Protocol):
    """A stream of commits in the operator's hands; LogUnavailableError without an answer."""

    async def begin_anew(self, why: str, first_sequence: int = 1) -> None:
        """Make it again, closed and empty."""

    async def delete(self) -> None:
        """Delete it, if it is there."""

    async def fill(self, commits: Sequence[StoredCommit]) -> None:
        """Append commits to it while it is closed, with their writers and sequences."""

    def commits(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit]]:
        """Yield those of its commits that can be read."""


class Copy(Protocol):
    """The database's copy of the log; StoreUnavailableError without an answer."""

    async def checkpoint(self) -> Checkpoint:
        """Return how far it goes."""

    async def tree(self) -> TreeHead:
        """Return the tree that was grown over it."""

    async def commits(self, first: int, last: int) -> Sequence[KeptCommit]:
        """Return those of the commits that are there, in order."""

    async def mend(self, commits: Sequence[StoredCommit]) -> None:
        """Put these in the place of what is there."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was found and what was done; `refilled` and `carried` are counts of commits.

    `carried` are commits that only the broker had, behind the copy's end.
    """

    findings: Findings
    done: str
    refilled: int = 0
    carried: int = 0
    mended: int = 0


@dataclass(frozen=True, slots=True)
class Leave:
    """What the operator allows: only to look, to replace another log, to lose the log's end."""

    dry_run: bool = False
    replace: bool = False
    accept_loss: bool = False


class Restore:
    """Compares the two stores, and mends one from the other.

    `aside` is a stream for what only the broker has. `signed` are the checkpoints that were signed,
    by size.
    """

    def __init__(
        self,
        stream: Stream,
        aside: Stream,
        copy: Copy,
        signed: Mapping[int, SignedTree],
        tell: Tell,
    ) -> None:
        self._stream = stream
        self._aside = aside
        self._copy = copy
        self._signed = signed
        self._tell = tell

    async def run(self, leave: Leave) -> Report:
        """Compare, and unless only that was asked for, mend.

        Raises:
            RestoreRefusedError: a commit is in neither store as it was, or the operator's leave is
                missing; nothing was changed.
            LogUnavailableError, StoreUnavailableError: no answer; run it again.

        An error has a note if the log stays closed with it; before anything was changed it only
        does if it was closed, or not there.
        """
        if leave.dry_run:
            findings = await self._compare()
            return Report(findings, "nothing: a dry run")
        # Asked before anybody is refused: the database may be the wrong one, or not answer.
        await self._copy.checkpoint()
        await self._copy.tree()
        async with closed(self._stream, _WHY_CLOSED) as log:
            findings = await self._compare()
            self._require_leave(findings, leave)
            log.changed = True
            mended = await self._mend_copy(findings)
            if findings.log_is_whole:
                await self._finish("")
                done = "mended the copy" if mended else "nothing: the log is whole"
                return Report(findings, done, mended=mended)
            return await self._refill(findings, mended)

    async def _compare(self) -> Findings:
        """Look at each commit in both stores."""
        checkpoint, state = await self._copy.checkpoint(), await self._stream.state()
        aside = await self._aside.state()
        found = Findings(checkpoint.position, state.last)
        found.end = max(state.last, aside.last, checkpoint.position)
        tree, head = LogTree(), await self._copy.tree()
        async with aclosing(self._both(found)) as windows:
            async for first, kept, stored in windows:
                for sequence in range(first, min(first + _WINDOW, found.end + 1)):
                    good = as_it_was(found, sequence, kept.get(sequence), stored.get(sequence))
                    if good is None or tree.size != sequence - 1:
                        continue
                    tree.take(good.writer.service, good.writer.instance, good.digest)
                    self._compare_roots(found, tree, head)
                self._tell("comparing", min(first + _WINDOW - 1, found.end), found.end)
        if found.another:
            # What it holds behind the copy's end is another log's as well.
            found.end = found.position
        found.root = tree.root
        beyond = max(self._signed, default=0)
        if not found.problem and beyond > found.end:
            found.problem = (
                f"a tree of {beyond} commits was signed, and both stores end at {found.end}"
            )
        return found

    def _compare_roots(self, found: Findings, tree: LogTree, head: TreeHead) -> None:
        if found.problem:
            return
        signed = self._signed.get(tree.size)
        if signed is not None and signed.root != tree.root:
            found.problem = (
                f"the commits up to {tree.size} are not those that were signed: one of them was "
                "changed in the copy, with the digest noted of it"
            )
        elif tree.size == head.size and head.grow_on().root != tree.root:
            found.problem = (
                f"the copy's {tree.size} commits do not lead to the tree that was grown over them"
            )

    async def _both(
        self, found: Findings
    ) -> AsyncGenerator[tuple[int, dict[int, KeptCommit], dict[int, StoredCommit]]]:
        """Yield windows of what is in the copy, and of what is in the broker's streams."""
        first_aside = found.position + 1
        async with (
            aclosing(self._stream.commits(1, found.end)) as of_log,
            aclosing(self._aside.commits(first_aside, found.end)) as set_aside,
        ):
            log, tail = _Ahead(of_log), _Ahead(set_aside)
            for first in range(1, found.end + 1, _WINDOW):
                last = min(first + _WINDOW - 1, found.end)
                kept = await self._copy.commits(first, min(last, found.position))
                stored = await log.upto(last) | await tail.upto(last)
                yield first, {commit.sequence: commit for commit in kept}, stored

    def _require_leave(self, found: Findings, leave: Leave) -> None:
        if found.problem:
            raise RestoreRefusedError(f"The copy can't be trusted: {found.problem}")
        if found.lost:
            raise RestoreRefusedError(
                f"Neither store has the commits {found.lost} as they were; restore one of the two "
                "from a backup first"
            )
        if found.another and not leave.replace:
            raise RestoreRefusedError(
                "The broker holds another log, which has no commit in common with the copy: "
                "--replace deletes it"
            )
        if found.lost_tail:
            if not leave.accept_loss:
                raise RestoreRefusedError(
                    f"The broker lost the commits {found.lost_tail}, which the copy does not have "
                    "yet: --accept-loss goes on without them and what came after"
                )
            found.end = found.lost_tail.spans[0][0] - 1
            found.missing.add(found.end + 1)

    async def _mend_copy(self, found: Findings) -> int:
        """Put the broker's bytes where the copy's are damaged."""
        for first, last in found.damaged_copies.spans:
            async with aclosing(self._stream.commits(first, last)) as batches:
                async for batch in batches:
                    await self._copy.mend(batch)
        return found.damaged_copies.count

    async def _refill(self, found: Findings, mended: int) -> Report:
        carried = found.end - found.position
        if found.only_shorter:
            first = found.stream_last + 1
        else:
            first = 1
            await self._set_aside(found)
            await self._stream.begin_anew(_WHY_CLOSED)
        total = found.end
        async with aclosing(self._expected(first, found)) as batches:
            async for batch in batches:
                await self._stream.fill(batch)
                self._tell("refilling", batch[-1].sequence, total)
        root = await self._verify(found)
        note = f"commits {first} to {found.end}; root over {found.end}: {root.hex()}"
        await self._finish(note)
        found.root = root
        return Report(found, "refilled the log", found.end - first + 1, carried, mended)

    async def _set_aside(self, found: Findings) -> None:
        """Keep what only the broker has in a stream of its own while the log is made anew."""
        if found.end == found.position:
            return
        state = await self._aside.state()
        first = max(state.last, found.position) + 1
        if not state.exists or state.last < found.position:
            await self._aside.begin_anew(_WHY_CLOSED, found.position + 1)
            first = found.position + 1
        async with aclosing(self._stream.commits(first, found.end)) as batches:
            async for batch in batches:
                for part in _parts(batch):
                    await self._aside.fill(part)
                self._tell("setting aside", batch[-1].sequence, found.end)
        if (await self._aside.state()).last < found.end:
            raise RestoreRefusedError(
                f"The broker no longer shows the commits {first} to {found.end}"
            )

    async def _expected(self, first: int, found: Findings) -> AsyncGenerator[list[StoredCommit]]:
        """Yield what the log should hold, from a sequence on, in batches to fill with."""
        waiting: list[StoredCommit] = []
        for begin in range(first, found.position + 1, _WINDOW):
            kept = await self._copy.commits(begin, min(begin + _WINDOW - 1, found.position))
            waiting += [as_stored(commit) for commit in kept]
            if _is_enough(len(waiting), sum(len(commit.data) for commit in waiting)):
                for part in _parts(waiting):
                    yield part
                waiting = []
        for part in _parts(waiting):
            yield part
        if found.end > found.position:
            begin = max(first, found.position + 1)
            async with aclosing(self._aside.commits(begin, found.end)) as batches:
                async for batch in batches:
                    for part in _parts(batch):
                        yield part

    async def _verify(self, found: Findings) -> bytes:
        """Read the log again and compare it with what it should hold; return its root."""
        tree = LogTree()
        async with (
            aclosing(self._stream.commits(1, found.end)) as batches,
            aclosing(self._expected(1, found)) as parts,
        ):
            log = _Ahead(batches)
            async for part in parts:
                stored = await log.upto(part[-1].sequence)
                for commit in part:
                    if stored.get(commit.sequence) != commit:
                        raise RestoreRefusedError(
                            f"Commit {commit.sequence} was filled in and does not come back as it "
                            "was: is the broker's disk sound?"
                        )
                    tree.take(commit.writer.service, commit.writer.instance, commit.digest)
                self._tell("verifying", tree.size, found.end)
        if tree.size != found.end or tree.root != found.root:
            raise RestoreRefusedError(
                f"The log was filled up to {tree.size} of {found.end} commits, with another root"
            )
        return tree.root

    async def _finish(self, note: str) -> None:
        await self._stream.open(note)
        await self._aside.delete()


class _Ahead:
    """Takes commits that arrive in batches by their sequences."""

    def __init__(self, batches: AsyncGenerator[list[StoredCommit]]) -> None:
        self._batches = batches
        self._waiting: dict[int, StoredCommit] = {}
        self._seen = 0

    async def upto(self, last: int) -> dict[int, StoredCommit]:
        """Return what there is up to a sequence and was not returned before."""
        while self._seen < last:
            batch = await anext(self._batches, None)
            if batch is None:
                break
            self._waiting |= {commit.sequence: commit for commit in batch}
            self._seen = batch[-1].sequence
        taken = {sequence: each for sequence, each in self._waiting.items() if sequence <= last}
        for sequence in taken:
            del self._waiting[sequence]
        return taken


def _is_enough(commits: int, size: int) -> bool:
    return commits >= _BATCH_COMMITS or size >= _BATCH_BYTES


def _parts(commits: Sequence[StoredCommit]) -> list[list[StoredCommit]]:
    """Return commits in parts that the broker takes at once."""
    parts: list[list[StoredCommit]] = []
    part: list[StoredCommit] = []
    size = 0
    for commit in commits:
        part.append(commit)
        size += len(commit.data)
        if _is_enough(len(part), size):
            parts.append(part)
            part, size = [], 0
    return [*parts, part] if part else parts
