"""A log's decisions derived again: what `fog audit verify --decisions` and tests do."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fogbank.cli.whole_log import LogSource, open_source
from fogbank.domain.envelope import SCHEDULER
from fogbank.log.follower import read_commits
from fogbank.log.port import EventLog
from fogbank.placement.rederive import Rederived, Rederiver

# More rounds than these are counted, and not kept.
_KEPT = 100


@dataclass(slots=True)
class Verification:
    """What came of deriving a log's rounds again; `different` are the first 100 that differ."""

    commits: int = 0
    same: int = 0
    void: int = 0
    different_total: int = 0
    different: list[Rederived] = field(default_factory=list)
    unverifiable: dict[int, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Tell whether no round differs."""
        return self.different_total == 0

    def add(self, found: Rederived) -> None:
        """Count a round."""
        if not found.verifiable:
            self.unverifiable[found.engine] = self.unverifiable.get(found.engine, 0) + 1
        elif found.same:
            self.same += 1
        else:
            self.different_total += 1
            if len(self.different) < _KEPT:
                self.different.append(found)


async def verify_source(
    source: LogSource, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Read a log from the broker; as `verify_event_log`."""
    async with open_source(source) as log:
        return await verify_event_log(log, progress)


async def verify_event_log(
    log: EventLog, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Derive every round that counts again, from the first commit to the log's present end.

    `progress` gets the sequence that was read and the last one.

    Raises:
        CodecError: a commit that this release can't read.
        LogUnavailableError, LogBrokenError: as the log's `read`.
    """
    verification, rederiver = Verification(), Rederiver()
    last = await log.last_sequence()
    async for commits in read_commits(log, 1, last):
        for commit in commits:
            found = rederiver.take(commit)
            if found is not None:
                verification.add(found)
            elif commit.service == SCHEDULER:
                verification.void += 1
        verification.commits += len(commits)
        if progress is not None:
            progress(commits[-1].sequence, last)
    return verification
