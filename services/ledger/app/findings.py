"""What a comparison of both stores finds: which commits are as they were, and which are not."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from fogbank.log.port import StoredCommit, Writer
from services.ledger.app.replays import KeptCommit
from services.ledger.core.spans import Spans


@dataclass(slots=True)
class Findings:
    """What was found; the sequences of commits that are not as they should be, by store."""

    position: int
    stream_last: int
    end: int = 0
    same: int = 0
    missing: Spans = field(default_factory=Spans)
    changed: Spans = field(default_factory=Spans)
    damaged_copies: Spans = field(default_factory=Spans)
    lost: Spans = field(default_factory=Spans)
    lost_tail: Spans = field(default_factory=Spans)
    root: bytes = b""
    problem: str = ""

    @property
    def another(self) -> bool:
        """Whether the broker's log has nothing in common with the copy."""
        return not self.same and bool(self.changed)

    @property
    def log_is_whole(self) -> bool:
        """Whether the broker's log holds all that it should."""
        return self.stream_last >= self.end and not self.missing and not self.changed

    @property
    def only_shorter(self) -> bool:
        """Whether the broker's log lacks its end and nothing else."""
        lacks_more = any(first <= self.stream_last for first, _ in self.missing.spans)
        return self.stream_last < self.end and not lacks_more and not self.changed


def as_it_was(
    found: Findings, sequence: int, kept: KeptCommit | None, stored: StoredCommit | None
) -> StoredCommit | None:
    """Note what is wrong with a commit in either store; return it as it was, if one has it."""
    if sequence > found.position:
        if found.another:
            return None
        if stored is None:
            found.lost_tail.add(sequence)
        return stored
    good = _good(found, sequence, kept, stored)
    if good is None:
        found.lost.add(sequence)
    if stored is None:
        found.missing.add(sequence)
    elif good is not None and stored != good:
        found.changed.add(sequence)
    elif good is not None:
        found.same += 1
    return good


def _good(
    found: Findings, sequence: int, kept: KeptCommit | None, stored: StoredCommit | None
) -> StoredCommit | None:
    """Return a commit as it was: of data, digest and the broker's bytes, two must agree."""
    if kept is None:
        # Nothing tells but the tree, which is looked at in the end.
        found.damaged_copies.add(sequence)
        return stored
    computed = sha256(kept.data).digest()
    if computed == kept.digest:
        return as_stored(kept)
    found.damaged_copies.add(sequence)
    if stored is not None and stored.digest in {kept.digest, computed}:
        return stored
    return None


def as_stored(kept: KeptCommit) -> StoredCommit:
    """Return a commit of the copy as the broker has it."""
    return StoredCommit(kept.sequence, Writer(kept.service, kept.instance), kept.data)
