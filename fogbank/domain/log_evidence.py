"""What the ledger says of the log's integrity: how a check goes, what it signs, what it proves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VerifiedPart:
    """How far a check of the log got.

    `checked` of `total` commits, `checkpoints` signed ones that it was found to fit;
    `bad_sequence` is the first that is wrong, 0 for none, and `problem` says what is.
    """

    total: int
    checked: int = 0
    checkpoints: int = 0
    bad_sequence: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ScrubFinding:
    """A commit that is not as it was in one of the stores, or a checkpoint of so many commits.

    `problem` says in which store, or what is wrong with the checkpoint.
    """

    sequence: int
    problem: str


@dataclass(frozen=True, slots=True)
class LogScrub:
    """What the last scrub of the log's two stores came to; instants are 0 before the first.

    `commits` is how many there were when it began.
    """

    began_at_us: int = 0
    ended_at_us: int = 0
    commits: int = 0
    findings: tuple[ScrubFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class SignedLog:
    """A signed checkpoint of the log, and the public keys whose signatures count, line by line."""

    note: str
    verifier_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CommitProof:
    """A commit, the hashes from it up to the root (32 bytes each), the note that signs the root."""

    note: str
    sequence: int
    service: str
    instance: str
    data: bytes
    path: tuple[bytes, ...]
