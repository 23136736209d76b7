"""Evidence of the log that others can keep: signed checkpoints of its tree, and proofs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from fogbank.domain.errors import FailedPreconditionError, FogError, InvalidArgumentError
from fogbank.domain.log_evidence import CommitProof, SignedLog
from fogbank.transparency.note import Checkpoint, Signer, VerifierKey, sign
from fogbank.transparency.tree import inclusion_proof, leaf_hash
from services.ledger.app.replays import KeptCommit, LogCopy
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
        """Keep a note under the size of its tree; OSError if it can't be."""

    async def read(self) -> dict[int, str]:
        """Return the notes by the size of their trees; OSError if they can't be read."""


class NoCheckpointsError(FailedPreconditionError):
    """This ledger signs nothing."""

    default_reason = "NO_CHECKPOINTS"


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
    """A note, and the size of the tree that it signs."""

    size: int
    note: str


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
        self._signed = SignedCheckpoint(0, "")

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
                    await self.checkpoint()
            except FogError as error:
                why = error.message
                if why != told:
                    _log.warning("No checkpoint was signed", error=why)
            told = why
            await asyncio.sleep(period_s)

    async def checkpoint(self) -> SignedCheckpoint:
        """Return a checkpoint of all that the tables hold now; it is kept as well.

        Raises:
            NoCheckpointsError: nothing is signed here, or the log is empty.
            StoreUnavailableError: the database does not answer.
        """
        head = await self._trees.head()
        if self._store is None or not head.size:
            why = "the log is empty" if self._store else "set FOG_CHECKPOINT_DIR for the ledger"
            raise NoCheckpointsError(f"There is no signed checkpoint of the log: {why}")
        if head.size != self._signed.size:
            checkpoint = Checkpoint(self._origin, head.size, head.grow_on().root)
            signed = SignedCheckpoint(head.size, sign(checkpoint, self._keys.signers))
            try:
                await self._store.write(signed.size, signed.note)
            except OSError as error:
                raise NoCheckpointsError(
                    f"The checkpoint could not be kept: {error.strerror}"
                ) from error
            self._signed = signed
        return self._signed

    async def signed_log(self) -> SignedLog:
        """Return a checkpoint of the log as it is now, with the keys to check it by.

        Raises: as `checkpoint`.
        """
        signed = await self.checkpoint()
        return SignedLog(signed.note, tuple(key.text for key in self.trusted))

    async def kept(self) -> dict[int, str]:
        """Return the notes that are kept, by the size of their trees; none where none are signed.

        Raises:
            NoCheckpointsError: they can't be read.
        """
        try:
            return await self._store.read() if self._store is not None else {}
        except OSError as error:
            raise NoCheckpointsError(f"The checkpoints cannot be read: {error.strerror}") from error

    async def prove(self, sequence: int) -> CommitProof:
        """Prove that a commit is in the log.

        Raises:
            InvalidArgumentError: there is no such commit.
            NoCheckpointsError, StoreUnavailableError: as `checkpoint`.
            CopyDamagedError: a commit that the proof needs is missing.
        """
        signed = await self.checkpoint()
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
            for commit in await self._commits(min(leaves) + 1, max(leaves) + 1):
                hashed = leaf_hash(commit.service, commit.instance, commit.data)
                known[0, commit.sequence - 1] = hashed
        return known

    async def _commits(self, first: int, last: int) -> Sequence[KeptCommit]:
        async with aclosing(self._copy.commits(first, last)) as batches:
            return [commit async for batch in batches for commit in batch]
