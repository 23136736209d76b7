"""Who decides when several schedulers run.

The author of the last round leads. The others stand by: they fold the same log, and step in when
work was left undone for `takeover_us`. Nobody holds a lease, and nothing depends on who believes
to lead: of two rounds decided on the same one, the log lets the first count.
"""

from __future__ import annotations

TAKEOVER_US = 1_000_000


class Leadership:
    """One scheduler's view of who leads. Instants in microseconds of a monotonic clock."""

    def __init__(self, instance: str, takeover_us: int = TAKEOVER_US) -> None:
        """Begin without a leader: then whoever finds work decides."""
        self.leader = ""
        self._instance = instance
        self._takeover_us = takeover_us
        self._undone_since_us: int | None = None

    @property
    def leading(self) -> bool:
        """Tell whether this scheduler wrote the last round."""
        return self.leader == self._instance

    def round_counted(self, instance: str) -> None:
        """Note the author of a round that counts."""
        self.leader = instance
        self._undone_since_us = None

    def nothing_to_do(self) -> None:
        """Note that all work is done."""
        self._undone_since_us = None

    def may_decide_at_us(self, now_us: int) -> int:
        """Return the instant from which this scheduler may decide the work there is now."""
        if self.leading or not self.leader:
            return now_us
        if self._undone_since_us is None:
            self._undone_since_us = now_us
        return self._undone_since_us + self._takeover_us
