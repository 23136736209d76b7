"""The guard before an append: does the log still hold what it is known to have held?

A broker that lost its disk's tail hands out the same sequences again. Whoever appends to it then
mixes two histories. So each appender remembers the highest commit it knows of, by itself or from
the ledger's copy, and looks whether it is still there: before its first append, and again after
each reconnect.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from fogbank.log.port import LogRewoundError, LogUnavailableError, StoredCommit

_SHOWN = 12  # hexadecimal digits of a digest in a message
WHAT_TO_DO = (
    "nothing is written until that is mended: refill the broker from the ledger's copies with "
    "`fog audit restore`, or restore its store from a backup that reaches this commit "
    "(docs/operations.md, 'When the log is refused')"
)


class Lookup(Protocol):
    """As much of a log as it takes to look whether a commit is there."""

    async def get(self, sequence: int) -> StoredCommit | None:
        """Return one commit, or None if the log has none of that sequence."""

    async def last_sequence(self) -> int:
        """Return the sequence of the last commit; 0 for an empty log."""


class Known(NamedTuple):
    """A commit that the log held: its sequence and the SHA-256 of its bytes, and who says so."""

    sequence: int
    digest: bytes
    source: str


def known(commit: StoredCommit) -> Known:
    """Return what a commit that this process wrote or read is to be recognised by."""
    return Known(commit.sequence, commit.digest, "this process")


async def require_held(log: Lookup, held: Known) -> None:
    """Return if the log still holds a commit.

    Raises:
        LogRewoundError: it is gone, or another one is in its place; the message says what to do.
        LogUnavailableError: the log did not answer.
    """
    found = await log.get(held.sequence)
    if found is None:
        raise LogRewoundError(
            f"the log lost commit {held.sequence}, which {held.source} knows "
            f"(sha256 {short(held.digest)}): {await _extent(log)}; {WHAT_TO_DO}"
        )
    if found.digest != held.digest:
        raise LogRewoundError(
            f"the log holds another commit {held.sequence} (sha256 {short(found.digest)}) than "
            f"{held.source} knows (sha256 {short(held.digest)}): it is another log, or a changed "
            f"one; {WHAT_TO_DO}"
        )


async def _extent(log: Lookup) -> str:
    try:
        last = await log.last_sequence()
    except LogUnavailableError as error:
        # A broker without the stream, for example.
        return error.message
    return f"it ends at {last}" if last else "it is empty"


def short(digest: bytes) -> str:
    """Return the beginning of a digest, enough to tell two apart."""
    return digest.hex()[:_SHOWN]


class Guard:
    """Remembers what the log is known to hold, and looks when there is a reason to.

    What was told and what was known before a reconnect stays to be checked: nothing that is read
    later may take its place, for it might come from another log.
    """

    def __init__(self, log: Lookup) -> None:
        self._log = log
        self._last: StoredCommit | None = None
        self._told: Known | None = None
        self._unsure: StoredCommit | None = None

    @property
    def last(self) -> StoredCommit | None:
        """The highest commit that the log confirmed or delivered."""
        return self._last

    def saw(self, commit: StoredCommit) -> None:
        """Note a commit that the log just confirmed or delivered."""
        if self._last is None or commit.sequence > self._last.sequence:
            self._last = commit

    def must_hold(self, sequence: int, digest: bytes) -> None:
        """Note a commit that the ledger's copy has; it is checked before the next append."""
        if self._told is None or sequence > self._told.sequence:
            self._told = Known(sequence, digest, "the ledger's copy")

    def distrust(self) -> None:
        """Demand a check before the next append: the broker may have restarted."""
        self._unsure = self._last

    async def check(self) -> None:
        """Look, if there is a reason to.

        Raises:
            LogRewoundError: a remembered commit is gone or another one is in its place.
            LogUnavailableError: the log did not answer.
        """
        if (told := self._told) is not None:
            await require_held(self._log, told)
            if self._told is told:
                self._told = None
        if (unsure := self._unsure) is not None:
            # Its digest is computed only here: readers see thousands of commits a second.
            await require_held(self._log, known(unsure))
            if self._unsure is unsure:
                self._unsure = None
