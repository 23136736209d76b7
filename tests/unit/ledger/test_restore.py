"""Which store mends which, whatever is wrong with them and wherever a restore is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import pytest

from fogbank.log.port import LogUnavailableError, StoredCommit, Writer
from fogbank.transparency.note import Checkpoint as SignedTree
from services.ledger.app.closing import STAYS_CLOSED
from services.ledger.app.ports import Checkpoint, StoreUnavailableError
from services.ledger.app.replays import KeptCommit
from services.ledger.app.restore import Leave, Restore, RestoreRefusedError
from services.ledger.core.log_tree import LogTree, TreeHead

COPIED, END = 230, 260
REPLACE = Leave(replace=True)


def a_commit(sequence: int, text: str = "commit") -> StoredCommit:
    writer = Writer("gateway", f"g{sequence % 3}")
    return StoredCommit(sequence, writer, f"{text} {sequence}".encode())


LOG = [a_commit(sequence) for sequence in range(1, END + 1)]


def a_tree(commits: Sequence[StoredCommit]) -> LogTree:
    tree = LogTree()
    for commit in commits:
        tree.take(commit.writer.service, commit.writer.instance, commit.digest)
    return tree


@dataclass
class State:
    exists: bool
    last: int
    messages: int
    closed: bool


@dataclass
class Steps:
    """Counts what is changed, and fails at one of the changes."""

    done: int = 0
    fails_at: int = -1

    def one(self) -> None:
        if self.done == self.fails_at:
            raise LogUnavailableError("ended here")
        self.done += 1


class FakeStream:
    def __init__(self, steps: Steps, commits: Sequence[StoredCommit] | None) -> None:
        self.steps = steps
        self.held = None if commits is None else {each.sequence: each for each in commits}
        self.last = 0 if not commits else commits[-1].sequence
        self.closed = False
        self.opened_with: list[dict[int, StoredCommit]] = []

    async def state(self) -> State:
        held = self.held or {}
        return State(self.held is not None, self.last, len(held), self.closed)

    async def close(self, why: str) -> None:
        self.steps.one()
        self.held = {} if self.held is None else self.held
        self.closed = True

    async def begin_anew(self, why: str, first_sequence: int = 1) -> None:
        self.steps.one()
        self.held, self.last = None, 0
        self.steps.one()
        self.held, self.last, self.closed = {}, first_sequence - 1, True

    async def open(self, note: str = "") -> None:
        self.steps.one()
        assert self.held is not None
        self.opened_with.append(dict(self.held))
        self.closed = False

    async def delete(self) -> None:
        self.steps.one()
        self.held, self.last = None, 0

    async def fill(self, commits: Sequence[StoredCommit]) -> None:
        self.steps.one()
        assert self.closed
        assert self.held is not None
        assert [each.sequence for each in commits] == list(
            range(self.last + 1, self.last + 1 + len(commits))
        )
        self.held |= {each.sequence: each for each in commits}
        self.last = commits[-1].sequence

    async def commits(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit]]:
        held = dict(self.held or {})
        found = [held[each] for each in sorted(held) if first <= each <= last]
        for begin in range(0, len(found), 70):
            yield found[begin : begin + 70]


@dataclass
class FakeCopy:
    steps: Steps
    rows: dict[int, KeptCommit] = field(
        default_factory=lambda: {each.sequence: kept(each) for each in LOG[:COPIED]}
    )

    async def checkpoint(self) -> Checkpoint:
        return Checkpoint(COPIED, LOG[COPIED - 1].digest)

    async def tree(self) -> TreeHead:
        return a_tree(LOG[:COPIED]).grown().head

    async def commits(self, first: int, last: int) -> Sequence[KeptCommit]:
        return [self.rows[each] for each in range(first, last + 1) if each in self.rows]

    async def mend(self, commits: Sequence[StoredCommit]) -> None:
        self.steps.one()
        self.rows |= {each.sequence: kept(each) for each in commits}


def kept(commit: StoredCommit) -> KeptCommit:
    writer = commit.writer
    return KeptCommit(commit.sequence, writer.service, writer.instance, commit.digest, commit.data)


class Stores:
    def __init__(self, log: Sequence[StoredCommit] | None = tuple(LOG)) -> None:
        self.steps = Steps()
        self.log = FakeStream(self.steps, log)
        self.aside = FakeStream(self.steps, None)
        self.copy = FakeCopy(self.steps)
        self.signed: dict[int, SignedTree] = {
            size: SignedTree("fogbank/default", size, a_tree(LOG[:size]).root)
            for size in (100, COPIED)
        }

    def restore(self) -> Restore:
        return Restore(self.log, self.aside, self.copy, self.signed, lambda *_: None)

    def is_whole(self, end: int = END) -> bool:
        assert all(
            opened == {each.sequence: each for each in LOG[:end]} for opened in self.log.opened_with
        )
        rows = {each.sequence: kept(each) for each in LOG[:COPIED]}
        held = {each.sequence: each for each in LOG[:end]}
        return (
            self.log.held == held
            and not self.log.closed
            and self.aside.held is None
            and self.copy.rows == rows
        )


def lose(stores: Stores) -> None:
    stores.log = FakeStream(stores.steps, None)


def cut(stores: Stores) -> None:
    stores.log = FakeStream(stores.steps, LOG[:150])


def rot_in_both(stores: Stores) -> None:
    assert stores.log.held is not None
    stores.log.held[40] = replace_data(LOG[39])
    del stores.log.held[77]
    row = stores.copy.rows[101]
    stores.copy.rows[101] = replace(row, data=b"rotten")
    del stores.copy.rows[102]
    row = stores.copy.rows[103]
    stores.copy.rows[103] = replace(row, digest=sha256(b"rotten").digest())


def replace_data(commit: StoredCommit) -> StoredCommit:
    return StoredCommit(commit.sequence, commit.writer, b"rotten")


def rot_in_the_copy(stores: Stores) -> None:
    del stores.copy.rows[COPIED]


def nothing(stores: Stores) -> None:
    """All is well."""


# What is wrong, where the log ends once it is mended, what had to be done.
HARMS: list[tuple[Callable[[Stores], None], int, str]] = [
    (lose, COPIED, "refilled the log"),
    (cut, COPIED, "refilled the log"),
    (rot_in_both, END, "refilled the log"),
    (rot_in_the_copy, END, "mended the copy"),
    (nothing, END, "nothing: the log is whole"),
]


@pytest.mark.parametrize(("harm", "end", "done"), HARMS)
async def test_the_stores_mend_each_other_wherever_it_is_ended(
    harm: Callable[[Stores], None], end: int, done: str
) -> None:
    stores = Stores()
    harm(stores)
    looked = await stores.restore().run(Leave(dry_run=True))
    assert (stores.steps.done, looked.findings.end) == (0, end)
    report = await stores.restore().run(Leave())
    assert stores.is_whole(end)
    assert report.done == done
    assert report.findings.root == a_tree(LOG[:end]).root
    for ended_at in range(stores.steps.done):
        stores = Stores()
        harm(stores)
        stores.steps.fails_at = ended_at
        with pytest.raises(LogUnavailableError):
            await stores.restore().run(Leave())
        stores.steps.fails_at = -1
        await stores.restore().run(Leave())
        assert stores.is_whole(end), ended_at


@dataclass
class FailingCopy(FakeCopy):
    """A copy that fails where a question is asked."""

    fails_at: str = ""
    error: BaseException = field(default_factory=asyncio.CancelledError)

    async def checkpoint(self) -> Checkpoint:
        if self.fails_at == "checkpoint":
            raise self.error
        return await super().checkpoint()

    async def commits(self, first: int, last: int) -> Sequence[KeptCommit]:
        if self.fails_at == "commits":
            raise self.error
        return await super().commits(first, last)

    async def mend(self, commits: Sequence[StoredCommit]) -> None:
        if self.fails_at == "mend":
            raise self.error
        await super().mend(commits)


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("gone"), asyncio.CancelledError(), ValueError("a table")]
)
async def test_a_log_is_left_as_it_was_found_until_something_is_changed(
    error: BaseException,
) -> None:
    for fails_at, was_closed, closed in (
        ("checkpoint", False, False),
        ("commits", False, False),
        ("commits", True, True),
        ("mend", False, True),
    ):
        stores = Stores()
        rot_in_the_copy(stores)
        stores.copy = FailingCopy(stores.steps, stores.copy.rows, fails_at, error)
        stores.log.closed = was_closed
        error.__notes__ = []
        with pytest.raises(type(error)) as failed:
            await stores.restore().run(Leave())
        assert stores.log.closed is closed
        assert bool(stores.log.opened_with) is (fails_at == "commits" and not closed)
        assert failed.value.__notes__ == [STAYS_CLOSED] * closed
        stores.copy = FakeCopy(stores.steps, stores.copy.rows)
        await stores.restore().run(Leave())
        assert stores.is_whole()


async def test_a_log_that_cannot_be_opened_again_is_told_to_be_closed() -> None:
    stores = Stores()
    stores.copy = FailingCopy(stores.steps, fails_at="commits", error=StoreUnavailableError("gone"))
    stores.steps.fails_at = 1
    with pytest.raises(StoreUnavailableError) as failed:
        await stores.restore().run(Leave())
    assert failed.value.__notes__ == [STAYS_CLOSED]
    assert stores.log.closed


async def refused(stores: Stores, leave: Leave, why: str) -> None:
    before = dict(stores.log.held or {})
    with pytest.raises(RestoreRefusedError, match=why):
        await stores.restore().run(leave)
    assert stores.log.held == before
    assert not stores.log.closed


async def test_another_log_is_replaced_only_with_leave() -> None:
    other = [a_commit(sequence, "theirs") for sequence in range(1, END + 1)]
    stores = Stores(other)
    await refused(stores, Leave(), "another log")
    stores.log.opened_with.clear()
    await stores.restore().run(REPLACE)
    assert stores.is_whole(COPIED)


async def test_what_neither_store_has_is_named() -> None:
    stores = Stores()
    assert stores.log.held is not None
    for sequence in (50, 51, 90):
        stores.log.held[sequence] = replace_data(LOG[sequence - 1])
        row = stores.copy.rows[sequence]
        stores.copy.rows[sequence] = replace(row, data=b"else")
    await refused(stores, Leave(replace=True, accept_loss=True), "the commits 50 to 51, 90 as they")


async def test_a_loss_behind_the_copys_end_is_accepted_only_with_leave() -> None:
    stores = Stores()
    assert stores.log.held is not None
    del stores.log.held[COPIED + 11]
    await refused(stores, Leave(), f"lost the commits {COPIED + 11}, which the copy does not have")
    stores.log.opened_with.clear()
    await stores.restore().run(Leave(accept_loss=True))
    assert stores.is_whole(COPIED + 10)


async def test_a_copy_that_was_changed_with_its_digests_is_not_believed() -> None:
    stores = Stores(None)
    stores.copy.rows[60] = kept(replace_data(LOG[59]))
    with pytest.raises(RestoreRefusedError, match="up to 100 are not those that were signed"):
        await stores.restore().run(Leave())
    stores.signed.clear()
    with pytest.raises(RestoreRefusedError, match="do not lead to the tree that was grown"):
        await stores.restore().run(Leave())
    assert stores.log.closed  # it was not there: nobody is to take the empty one for the log


async def test_less_than_what_was_signed_is_not_believed() -> None:
    stores = Stores(None)
    stores.signed[END] = SignedTree("fogbank/default", END, a_tree(LOG).root)
    with pytest.raises(RestoreRefusedError, match="of 260 commits was signed, and both stores end"):
        await stores.restore().run(Leave())
