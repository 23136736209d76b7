"""Which commit an instant belongs to: log time, noted at every sixteenth commit.

Log time never falls, so the rest is found among the fifteen commits behind a note.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Mapping

STRIDE = 16


class LogTimes:
    """Log times in microseconds since 1970, of a log taken in from its first commit."""

    def __init__(self) -> None:
        # The log time right after commit 0 (before all), 16, 32 and so on; 8 bytes each.
        self._notes = array("q", [0])

    def note(self, sequence: int, log_time_us: int) -> None:
        """Take note of the log time right after a commit; they come in order."""
        if sequence == len(self._notes) * STRIDE:
            self._notes.append(log_time_us)

    def begin_with(self, log_times_us: Iterable[int]) -> None:
        """Take the log times right after commits 16, 32 and so on, as if they had been noted."""
        self._notes = array("q", [0, *log_times_us])

    def last_noted_by(self, instant_us: int) -> int:
        """Return the last noted sequence whose log time isn't later than an instant."""
        return (bisect_right(self._notes, instant_us) - 1) * STRIDE

    def sequence_by(self, instant_us: int, noted: int, appended_at_us: Iterable[int]) -> int:
        """Return the last sequence whose log time isn't later than an instant.

        `noted` is what `last_noted_by` said, `appended_at_us` are those of the commits behind it.
        """
        log_time_us, found = self._notes[noted // STRIDE], noted
        for sequence, appended_us in enumerate(appended_at_us, noted + 1):
            log_time_us = max(log_time_us, appended_us)
            if log_time_us > instant_us:
                break
            found = sequence
        return found

    def of(self, latest_appended_us: Mapping[int, int]) -> dict[int, int]:
        """Return the log times of some sequences.

        For each the latest `appended_at_us` of the commits up to it that lie behind a note; 0 for
        a sequence that is noted itself.
        """
        return {
            sequence: max(self._notes[sequence // STRIDE], appended_us)
            for sequence, appended_us in latest_appended_us.items()
        }
