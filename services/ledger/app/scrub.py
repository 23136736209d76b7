"""The scrub: all of the log, its copy and its tree compared again, slowly and for ever.

Bits rot where nobody looks. Each round reads both stores from the first commit to the last, at the
start and then every so often, and goes on behind what it finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from fogbank.domain.errors import FogError
from fogbank.domain.log_evidence import LogScrub, ScrubFinding
from fogbank.runtime.clock import Clock
from fogbank.transparency.note import Checkpoint
from services.ledger.app import metrics
from services.ledger.app.log_verification import LogVerification
from services.ledger.app.progress import Progress

_log = structlog.get_logger(__name__)

# After so many findings of commits a round ends, and so many checkpoints are named: by then it is
# known what is wrong.
MOST_FINDINGS = 16
_MEND_NOTE = (
    "put its file back from a backup, or, if its key was taken away, the key's public line into "
    "FOG_CHECKPOINT_KEY_FILE"
)
_MICROS = 1_000_000


@dataclass(frozen=True, slots=True)
class ScrubPace:
    """How often a round begins, and how many commits it may compare in a second at most."""

    period_s: float
    commits_per_s: int


class Scrub:
    """Compares the two stores in the background, and remembers what the last round found."""

    def __init__(
        self, verification: LogVerification, progress: Progress, clock: Clock, pace: ScrubPace
    ) -> None:
        self._verification = verification
        self._progress = progress
        self._clock = clock
        self._pace = pace
        self.last = LogScrub()
        self._told: set[ScrubFinding] = set()

    async def run(self) -> None:
        """Scrub once the tables are at the log's end, then every period; until cancelled."""
        await self._progress.ready_changed(known=False)
        while True:
            try:
                await self.scrub()
            except FogError as error:
                _log.warning("The scrub did not get to its end", error=error.message)
            await asyncio.sleep(self._pace.period_s)

    async def scrub(self) -> LogScrub:
        """Compare all that is there now, and return what was found.

        Raises:
            LogUnavailableError, StoreUnavailableError: log or database do not answer.
            NoCheckpointsError: nobody can tell which checkpoints there are.
        """
        began_us = self._clock.now_us()
        last = self._progress.position
        notes = await self._verification.notes()
        found = [ScrubFinding(size, notes.bad[size]) for size in sorted(notes.bad)[:MOST_FINDINGS]]
        for finding in found:
            self._tell(finding, _MEND_NOTE)
        found += await self._compared(last, notes.signed) if last else []
        self.last = LogScrub(began_us, self._clock.now_us(), last, tuple(found))
        self._told &= set(found)
        metrics.SCRUB_ENDED.set(self.last.ended_at_us / _MICROS)
        metrics.SCRUB_FINDINGS.set(len(found))
        if not last:
            _log.info("There was nothing to scrub: the log is empty")
        elif not found:
            _log.info("The log was scrubbed and is sound", commits=last)
        return self.last

    async def _compared(self, last: int, signed: Mapping[int, Checkpoint]) -> list[ScrubFinding]:
        """Return what is wrong with the commits up to a sequence."""
        found: list[ScrubFinding] = []
        began_s = self._clock.monotonic_s()
        async with aclosing(self._verification.compare(1, last, signed)) as compared:
            async for each in compared:
                part = each.part
                if part.problem:
                    found.append(ScrubFinding(part.bad_sequence, part.problem))
                    self._tell(found[-1], each.advice)
                    if len(found) == MOST_FINDINGS:
                        break
                    continue
                metrics.SCRUB_POSITION.set(part.checked)
                due_s = began_s + part.checked / self._pace.commits_per_s
                await asyncio.sleep(max(0.0, due_s - self._clock.monotonic_s()))
        return found

    def _tell(self, finding: ScrubFinding, advice: str) -> None:
        """Say what was found and what to do, once as long as it stays so."""
        if finding not in self._told:
            self._told.add(finding)
            _log.critical(
                "The scrub found a store that is not as it was",
                sequence=finding.sequence,
                error=f"{finding.problem}; {advice}",
            )
