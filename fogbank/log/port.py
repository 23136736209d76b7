"""The event log as its users see it: append bytes, read them back in the one order there is.

Adapters: `fogbank.log.jetstream` for real, `fogbank.log.memory` for tests. Both pass the same
contract suite. The log takes bytes; what they mean is `fogbank.codec`'s business.

There is no way to change or remove a commit, on purpose.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Protocol

from fogbank.domain.errors import (
    AbortedError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from fogbank.runtime.operator_error import OperatorError

# A commit's largest size in bytes. Half of the broker's usual limit of one message.
MAX_COMMIT_BYTES = 512 * 1024
# A batch that `follow` or `read` yields ends at this many commits or at this many bytes.
MAX_BATCH_COMMITS = 1_000
MAX_BATCH_BYTES = 8 * 1024 * 1024
# A writer whose clock is further off the broker's refuses to write.
MAX_CLOCK_OFFSET_US = 2_000_000

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


class LogUnavailableError(UnavailableError):
    """The log did not confirm; whether the commit is in it is unknown.

    Appending the same bytes again is safe: at worst the log holds them twice, and a fold ignores
    the second. Looking and not finding them proves nothing, they may still be on their way.
    """

    default_reason = "LOG_UNAVAILABLE"


class LogClosedError(LogUnavailableError):
    """The log takes nothing and is not to be read until the operator has opened it again."""

    default_reason = "LOG_CLOSED"


class StaleAppendError(AbortedError):
    """`expected_last` isn't the log's last sequence; nothing was or will be written."""

    default_reason = "STALE_APPEND"


class LogFullError(ResourceExhaustedError):
    """The log has reached its largest size; nothing was written, and nothing will be for now."""

    default_reason = "LOG_FULL"


class CommitTooLargeError(InvalidArgumentError):
    """A commit is larger than `MAX_COMMIT_BYTES`; nothing was written."""

    default_reason = "COMMIT_TOO_LARGE"


class LogBrokenError(OperatorError):
    """The log isn't what it was, or isn't fit to be one. Nobody can go on without an operator."""


class LogGapError(LogBrokenError):
    """A commit that must be there, `sequence`, is missing: the reader would miss what happened."""

    def __init__(self, message: str, sequence: int) -> None:
        """Keep which commit it is."""
        super().__init__(message)
        self.sequence = sequence


class LogRewoundError(LogBrokenError):
    """The log ends before, or differs at, a commit that was already confirmed or read.

    Acknowledged commits were lost. Restore the broker from the ledger's copies before going on.
    """


class LogConfigurationError(LogBrokenError):
    """The broker or the stream has settings under which commits can be lost."""


class LogPermissionError(LogConfigurationError):
    """The broker knows us and denies it, or doesn't let us in at all; trying again won't help."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who appends: a service and which of its instances. Part of each commit's subject.

    Both are 1 to 128 letters, digits, `-` or `_`. Two processes alive at once must not share one.
    """

    service: str
    instance: str

    def __post_init__(self) -> None:
        """Refuse names that cannot stand in a subject."""
        for name in (self.service, self.instance):
            if not _TOKEN.fullmatch(name):
                raise ValueError(
                    f"{name!r} cannot name a writer: use 1 to 128 letters, digits, '-' or '_'"
                )


@dataclass(frozen=True)
class StoredCommit:
    """A commit as the log holds it."""

    sequence: int
    writer: Writer
    data: bytes

    @cached_property
    def digest(self) -> bytes:
        """The SHA-256 of the stored bytes (32 bytes)."""
        return sha256(self.data).digest()


class EventLog(Protocol):
    """A fleet's log, as one writer sees it. Sequences start at 1 and have no gaps."""

    @property
    def writer(self) -> Writer:
        """Whose name the commits of this handle bear."""

    async def append(self, data: bytes, *, expected_last: int | None = None) -> int:
        """Append one commit and return its sequence; it is durable by then.

        Appends of one handle go one after the other. With `expected_last`, only if the log's last
        sequence is that (0 for an empty log).

        Raises:
            StaleAppendError: the log's last sequence is another one.
            LogUnavailableError: not confirmed in time; the same bytes may be appended again.
            LogFullError: the log has reached its largest size.
            CommitTooLargeError: more than `MAX_COMMIT_BYTES`.
            LogRewoundError: the log lost a commit it had confirmed to this handle before.
        """

    def follow(self, after: int) -> AsyncGenerator[list[StoredCommit]]:
        """Yield every commit after sequence `after`, in order, without gaps, forever.

        A batch is what has arrived, at least one commit and at most `MAX_BATCH_COMMITS`. Waits
        through outages of the broker.

        Raises:
            LogGapError: a commit is missing in the log.
            LogRewoundError: the log ends before `after` or before what was read already, or
                after an outage holds another commit in the place of the last one.
        """

    def read(self, first: int, last: int) -> AsyncGenerator[list[StoredCommit]]:
        """Yield the commits `first` to `last`, both included, in batches; ends where the log ends.

        Raises: as `follow`.
        """

    async def get(self, sequence: int) -> StoredCommit | None:
        """Return one commit, or None if the log has none of that sequence.

        Raises:
            LogUnavailableError: no answer.
        """

    async def last_sequence(self) -> int:
        """Return the sequence of the last commit; 0 for an empty log.

        Raises:
            LogUnavailableError: no answer.
        """

    async def clock_us(self) -> int:
        """Return what the broker's clock says now, in microseconds since 1970.

        Raises:
            LogUnavailableError: no answer.
        """

    async def require_open(self) -> None:
        """Return unless the operator closed the log, as while it is being refilled.

        Raises:
            LogClosedError: it is closed; says why.
            LogUnavailableError: no answer.
        """

    def must_hold(self, sequence: int, digest: bytes) -> None:
        """Name a commit that the log is known to have held, as by the ledger's copy.

        It is checked before the next append: an append to a log that lost or changed it fails
        with LogRewoundError. Of several, the highest counts.
        """
