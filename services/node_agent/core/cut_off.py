"""How long this agent has been cut off, and which replicas may not run on for that.

Instants are of a clock that goes on while the host sleeps (CLOCK_BOOTTIME), in microseconds. What
counts is when the last heartbeat left that the leading scheduler acknowledged, or the Hello that
led to a Welcome: from then on a lost node's time runs, and never from earlier.
"""

from __future__ import annotations

from collections.abc import Iterable

from services.node_agent.core.replica import Desired, ReplicaRecord

# So many heartbeats leave in the shortest time that a replica may run on: one may get lost.
_BEATS = 3
_LEAST_BETWEEN_BEATS_US = 200_000

# An answer to a heartbeat older than so many others is of no use any more.
_REMEMBERED = 64

REASON = "cut off for longer than stop_on_client_after"


class Contact:
    """When the agent was last surely heard; `now_us` is the instant of what happens now."""

    def __init__(self) -> None:
        self.now_us = 0
        self._heard_us: int | None = None
        self._guarding_since_us: int | None = None
        self._hello_us = 0
        self._number = 0
        self._beat_us = 0
        self._sent: dict[int, int] = {}

    def greeted(self) -> None:
        """Note that a Hello is about to leave; answers to what another stream sent won't come."""
        self._hello_us = self.now_us
        self._sent.clear()

    def welcomed(self) -> None:
        """Note that the Hello is in the log."""
        self._hear(self._hello_us)

    def beat(self) -> int:
        """Return the number of a heartbeat that is about to leave; 0 where nothing is guarded."""
        self._beat_us = self.now_us
        if self._guarding_since_us is None:
            return 0
        self._number += 1
        self._sent[self._number] = self.now_us
        if len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return self._number

    def beat_asked(self) -> None:
        """Note that a heartbeat is going to leave at once."""
        self._beat_us = self.now_us

    def beat_due_us(self, record: ReplicaRecord) -> int:
        """Return when the next heartbeat has to leave for a replica to run on.

        The fleet's period may be longer than the replica may run without an answer.
        """
        least_us = max(_stop_after_us(record) // _BEATS, _LEAST_BETWEEN_BEATS_US)
        last_us = max(self._beat_us, self._heard_us or 0, self._guarding_since_us or 0)
        return last_us + least_us

    def answered(self, number: int) -> None:
        """Note that a heartbeat was acknowledged."""
        sent_us = self._sent.get(number)
        if sent_us is not None:
            self._sent = {each: at for each, at in self._sent.items() if each > number}
            self._hear(sent_us)

    def _hear(self, at_us: int) -> None:
        self._heard_us = max(self._heard_us or 0, at_us)

    def guard(self, *, needed: bool) -> None:
        """Note whether there are replicas that must not run on; before that nobody counted."""
        if not needed:
            self._guarding_since_us = None
        elif self._guarding_since_us is None:
            self._guarding_since_us = self.now_us

    def holds_back(self, record: ReplicaRecord) -> bool:
        """Tell whether a replica may not be started now, since nobody surely hears the agent.

        A new process knows of no contact before its first Welcome.
        """
        after_us = _stop_after_us(record)
        if not after_us:
            return False
        return self._heard_us is None or self.now_us >= self._heard_us + after_us

    def ends_us(self, record: ReplicaRecord) -> int:
        """Return when a guarded replica has to stop.

        Who was not counted from the last contact on is counted from when counting began.
        """
        begun_us = self._guarding_since_us or 0
        return max(self._heard_us or 0, begun_us) + _stop_after_us(record)


def guarded_among(records: Iterable[ReplicaRecord]) -> list[ReplicaRecord]:
    """Return the replicas that may not run on for long while the agent is cut off."""
    return [record for record in records if _stop_after_us(record) and not record.ended]


def waits_for_contact(record: ReplicaRecord, contact: Contact) -> bool:
    """Tell whether a replica is to be started, and is held back."""
    return record.desired is Desired.RUN and not record.alive and contact.holds_back(record)


def _stop_after_us(record: ReplicaRecord) -> int:
    return record.spec.stop_after_ms * 1_000 if record.spec is not None else 0
