"""The guard before an append: does the log still hold what it is known to have held?

A broker that lost its disk's tail hands out the same sequences again. Whoever appends to it then
mixes two histories. So each appender remembers the highest commit it knows of and looks whether
it is still there: before its first append, and again after each reconnect.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fogbank.log.port import LogRewoundError, StoredCommit


class Guard:
    """Remembers one commit and checks it when `distrust` was called or new knowledge came in."""

    def __init__(self, get: Callable[[int], Awaitable[StoredCommit | None]]) -> None:
        self._get = get
        self._sequence = 0
        self._digest: bytes | None = None
        self._commit: StoredCommit | None = None
        self._checked = True

    def saw(self, commit: StoredCommit) -> None:
        """Note a commit that the log just confirmed or delivered."""
        if commit.sequence > self._sequence:
            # Its digest is computed only if it is ever asked for: readers see thousands a second.
            self._sequence, self._commit, self._digest = commit.sequence, commit, None

    def must_hold(self, sequence: int, digest: bytes) -> None:
        """Note a commit that somebody else knows of; it is checked before the next append."""
        if sequence > self._sequence:
            self._sequence, self._commit, self._digest = sequence, None, digest
            self._checked = False

    def distrust(self) -> None:
        """Demand a check before the next append: the broker may have restarted."""
        self._checked = False

    async def check(self) -> None:
        """Look, if there is a reason to.

        Raises:
            LogRewoundError: the remembered commit is gone or another one is in its place.
            LogUnavailableError: the log did not answer.
        """
        if self._checked:
            return
        sequence, known = self._sequence, self._commit
        expected = known.digest if known is not None else self._digest
        if expected is not None:
            found = await self._get(sequence)
            if found is None:
                raise LogRewoundError(
                    f"the log lost commit {sequence}, which it had confirmed; restore it from "
                    "the ledger's copies before anything is written"
                )
            if found.digest != expected:
                raise LogRewoundError(
                    f"the log holds another commit {sequence} than it had confirmed; two "
                    "histories were mixed, restore it from the ledger's copies"
                )
        self._checked = True
