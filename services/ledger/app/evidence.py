"""Evidence of the log that others can keep: signed checkpoints of its tree, and proofs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from fogbank.domain.errors import FailedPreconditionError, FogError, InvalidArgumentError
from fogbank.domain.log_evidence import CommitProof, SignedLog
from fogbank.transparency.note import Checkpoint, NoteError, Signer, VerifierKey, read, sign
from fogbank.transparency.tree import (
    ProofError,
    check_consistency,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
)
from services.ledger.app import metrics
from services.ledger.app.ports import CopyDamagedError
from services.ledger.app.replays import KeptCommit, LogCopy, intact
from services.ledger.core.log_tree import Node, TreeHead, hashes_from, nodes_needed

_log = structlog.get_logger(__name__)


class TreeReads(Protocol):
    """The tree as the tables hold it; StoreUnavailableError when the database does not answer."""

    async def head(self) -> TreeHead:
        """Return how far the tree has grown."""

    async def kept(self, nodes: Collection[Node]) -> dict[Node, bytes]:
        """Return those of some nodes that are kept, none of them leaves."""


class CheckpointStore(Protocol):
    """Where signed checkpoints are kept, outside the log and its copy."""

    async def write(self, size: int, note: str) -> None:
        """Keep a note under the size of its tree, unless there is one of it; OSError if not."""

    async def read(self) -> dict[int, str | OSError]:
        """Return the notes by the size of their trees, or why one can't be read; OSError if all."""

    async def newest(self) -> tuple[int, str] | None:
        """Return the note of the largest tree with its size; OSError if it can't be read."""


class NoCheckpointsError(FailedPreconditionError):
    """This ledger signs nothing."""

    default_reason = "NO_CHECKPOINTS"


class LogRewrittenError(FailedPreconditionError):
    """The tables' tree does not begin with what was signed before: nothing more is signed."""

    default_reason = "LOG_REWRITTEN"


@dataclass(frozen=True, slots=True)
class Keys:
    """Who signs, and whose signatures count: those of the signers, and of keys that retired."""

    signers: tuple[Signer, ...]
    retired: tuple[VerifierKey, ...] = ()

    @property
    def trusted(self) -> tuple[VerifierKey, ...]:
        """The public keys of all."""
        return (*(signer.verifier for signer in self.signers), *self.retired)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A note, and the tree that it signs."""

    tree: Checkpoint
    note: str

    @property
    def size(self) -> int:
        """How many commits the tree is over."""
        return self.tree.size


@dataclass(frozen=True, slots=True)
class Notes:
    """What was signed, and why each other note can't be believed; by the size of their trees."""

    signed: Mapping[int, Checkpoint]
    bad: Mapping[int, str]


def judged(kept: Mapping[int, str | OSError], trusted: Sequence[VerifierKey]) -> Notes:
    """Return which of the notes that are kept can be believed."""
    signed, bad = {}, {}
    for size, note in sorted(kept.items()):
        if isinstance(note, OSError):
            bad[size] = f"the checkpoint of {size} commits can't be read: {note.strerror}"
            continue
        try:
            checkpoint = read(note, trusted)
        except NoteError as error:
            bad[size] = f"the checkpoint of {size} commits: {error}"
            continue
        if checkpoint.size == size:
            signed[size] = checkpoint
        else:
            bad[size] = f"the checkpoint of {size} commits is one of {checkpoint.size}"
    return Notes(signed, bad)


class Evidence:
    """Signs checkpoints of what the tables hold, and proves commits against them.

    `origin` names the log in all of its checkpoints. Without a `store` nothing is signed.
    """

    def __init__(
        self,
        trees: TreeReads,
        copy: LogCopy,
        origin: str,
        keys: Keys,
        store: CheckpointStore | None,
    ) -> None:
        self._trees = trees
        self._copy = copy
        self._origin = origin
        self._keys = keys
        self._store = store
        self._signed: SignedCheckpoint | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def trusted(self) -> tuple[VerifierKey, ...]:
        """The public keys whose signatures count."""
        return self._keys.trusted

    async def run(self, period_s: float) -> None:
        """Sign a checkpoint now and then, whenever the log has grown; until cancelled."""
        if self._store is None:
            await asyncio.Event().wait()
        told = ""
        while True:
            why = ""
            try:
                if (await self._trees.head()).size:
                    await self.sign()
                metrics.REWRITTEN.set(0)
            except LogRewrittenError as error:
                why = error.message
                metrics.REWRITTEN.set(1)
                if why != told:
                    _log.critical("No checkpoint is signed: the log was rewritten", error=why)
            except FogError as error:
                why = error.message
                if why != told:
                    _log.warning("No checkpoint was signed", error=why)
            told = why
            await asyncio.sleep(period_s)

    async def latest(self) -> SignedCheckpoint:
        """Return what was signed last; only where nothing is yet, sign.

        Raises: as `sign`.
        """
        async with self._one_at_a_time:
            signed = await self._last_signed()
        return signed or await self.sign()

    async def sign(self) -> SignedCheckpoint:
        """Return a checkpoint of all that the tables hold now, and keep it.

        Of each size the first stays; a larger one is signed only if its tree is proved to begin
        with the tree that was signed last.

        Raises:
            NoCheckpointsError: nothing is signed here, the log is empty, or the tables don't hold
                what was signed yet.
            LogRewrittenError: what the tables hold is not what was signed, or doesn't begin so.
            StoreUnavailableError: the database does not answer.
            CopyDamagedError: a commit or a node of the tree that the proof needs is missing.
        """
        async with self._one_at_a_time:
            former = await self._last_signed()
            head = await self._trees.head()
            if self._store is None or not head.size:
                why = "the log is empty" if self._store else "set FOG_CHECKPOINT_DIR for the ledger"
                raise NoCheckpointsError(f"There is no signed checkpoint of the log: {why}")
            tree = Checkpoint(self._origin, head.size, head.grow_on().root)
            if former is not None:
                await self._require_grown(former.tree, tree)
                if former.size == tree.size:
                    return former
            signed = SignedCheckpoint(tree, sign(tree, self._keys.signers))
            try:
                await self._store.write(signed.size, signed.note)
            except OSError as error:
                raise NoCheckpointsError(
                    f"The checkpoint could not be kept: {error.strerror}"
                ) from error
            self._signed = signed
            return signed

    async def _last_signed(self) -> SignedCheckpoint | None:
        """Return what was signed last, by this ledger or by one before it."""
        if self._signed is None and self._store is not None:
            try:
                found = await self._store.newest()
            except OSError as error:
                raise _unreadable(error) from error
            if found is not None:
                size, note = found
                try:
                    self._signed = SignedCheckpoint(read(note, self.trusted), note)
                except NoteError as error:
                    raise NoCheckpointsError(
                        f"The last checkpoint, of {size} commits, can't be believed: {error}. The "
                        "key that signed it, or its public line, belongs into "
                        "FOG_CHECKPOINT_KEY_FILE"
                    ) from error
        return self._signed

    async def _require_grown(self, former: Checkpoint, tree: Checkpoint) -> None:
        """Prove that a tree begins with what was signed, from what the tables hold of it."""
        if tree.size < former.size:
            raise NoCheckpointsError(
                f"The tables hold {tree.size} commits, and a tree of {former.size} was signed"
            )
        proof = partial(consistency_proof, former.size, tree.size)
        path = proof(hashes_from(await self.nodes(nodes_needed(proof))))
        try:
            check_consistency(former.size, former.root, tree.size, tree.root, path)
        except ProofError as error:
            raise LogRewrittenError(
                f"The log of {tree.size} commits does not begin with the {former.size} that were "
                f"signed: {error}; `fog audit verify` finds what was changed"
            ) from error

    async def signed_log(self, *, fresh: bool = False) -> SignedLog:
        """Return the checkpoint that was signed last, or a fresh one, with the keys to check it by.

        Raises: as `sign`.
        """
        signed = await (self.sign() if fresh else self.latest())
        return SignedLog(signed.note, tuple(key.text for key in self.trusted))

    async def kept(self) -> dict[int, str | OSError]:
        """Return the notes that are kept, by the size of their trees; none where none are signed.

        Of a note that can't be read the reason.

        Raises:
            NoCheckpointsError: none of them can be read.
        """
        try:
            return await self._store.read() if self._store is not None else {}
        except OSError as error:
            raise _unreadable(error) from error

    async def prove(self, sequence: int) -> CommitProof:
        """Prove that a commit is in the log.

        Raises:
            InvalidArgumentError: there is no such commit.
            NoCheckpointsError, LogRewrittenError, StoreUnavailableError, CopyDamagedError: as
                `sign`.
        """
        signed = await self.latest()
        if not 1 <= sequence <= signed.size:
            signed = await self.sign()
        if not 1 <= sequence <= signed.size:
            raise InvalidArgumentError.of_field(
                "sequence", f"must be 1 to {signed.size}, the log's last sequence, was {sequence}"
            )
        proof = partial(inclusion_proof, sequence - 1, signed.size)
        path = proof(hashes_from(await self.nodes(nodes_needed(proof))))
        (commit,) = await self._commits(sequence, sequence)
        return CommitProof(
            signed.note, sequence, commit.service, commit.instance, commit.data, tuple(path)
        )

    async def nodes(self, needed: Collection[Node]) -> dict[Node, bytes]:
        """Return kept nodes from the tables, and leaves from the copy of the commits.

        Raises:
            StoreUnavailableError, CopyDamagedError: as `prove`.
        """
        leaves = [index for level, index in needed if level == 0]
        known = await self._trees.kept([node for node in needed if node[0]])
        if leaves:
            for first, last in _runs(sorted(leaves)):
                commits = await self._commits(first + 1, last + 1)
                known |= await asyncio.to_thread(_leaves_of, commits)
        missing = min((node for node in needed if node not in known), default=None)
        if missing is not None:
            raise _node_gone(*missing)
        return known

    async def _commits(self, first: int, last: int) -> Sequence[KeptCommit]:
        async with aclosing(self._copy.commits(first, last)) as batches:
            return [intact(commit) async for batch in batches for commit in batch]


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the runs without a gap that make up some ascending numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _leaves_of(commits: Sequence[KeptCommit]) -> dict[Node, bytes]:
    return {
        (0, commit.sequence - 1): leaf_hash(commit.service, commit.instance, commit.digest)
        for commit in commits
    }


def _node_gone(level: int, number: int) -> CopyDamagedError:
    first, last = (number << level) + 1, (number + 1) << level
    return CopyDamagedError(
        f"the tree's node over the commits {first} to {last} (level {level}, number {number}) is "
        "gone from the table `tree_nodes`; `fog audit rebuild` makes it again from the copy"
    )


def _unreadable(error: OSError) -> NoCheckpointsError:
    return NoCheckpointsError(f"The checkpoints cannot be read: {error.strerror}")
