"""What the agent is doing about each replica now: forgotten when the process ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.node_agent.core import stimuli as st


class Busy(Enum):
    """The step that was asked for and is not answered yet."""

    PREPARING = 1
    STARTING = 2
    STOPPING = 3


@dataclass(slots=True)
class Activity:
    """What is going on with one replica.

    `broken` says why its container is being stopped to be started again. To stop it may take
    `stop_within_ms` at most, and `stopping_within_ms` was said when it was asked for last; 0 for
    no such bound.
    """

    busy: Busy | None = None
    prepared: bool = False
    failures: int = 0
    due_us: int = 0
    pause_us: int = 0
    early_health: st.HealthSeen | None = None
    cut_off: bool = False
    broken: str = ""
    stop_within_ms: int = 0
    stopping_within_ms: int = 0

    @property
    def stop_hastens(self) -> bool:
        """Tell whether a stop that is under way has less time by now."""
        within_ms = self.stop_within_ms
        if self.busy is not Busy.STOPPING or not within_ms:
            return False
        return not self.stopping_within_ms or within_ms < self.stopping_within_ms

    def wait(self, from_us: int, pause_us: int) -> None:
        """Do nothing before `pause_us` after that instant."""
        self.due_us, self.pause_us = from_us + pause_us, pause_us


class Activities:
    """The activities of all replicas, by replica."""

    def __init__(self) -> None:
        self._all: dict[str, Activity] = {}

    def of(self, replica_id: str) -> Activity:
        """Return a replica's activity, begun if there was none."""
        activity = self._all.get(replica_id)
        if activity is None:
            activity = self._all[replica_id] = Activity()
        return activity

    def drop(self, replica_id: str) -> None:
        """Forget what was going on with a replica."""
        self._all.pop(replica_id, None)

    def answered(self, replica_id: str, busy: Busy) -> Activity | None:
        """Return the activity if it waits for this answer; it waits no longer."""
        activity = self._all.get(replica_id)
        if activity is None or activity.busy is not busy:
            return None
        activity.busy = None
        return activity

    def next_due_us(self, now_us: int) -> int:
        """Return the earliest instant at which something is to be tried again; 0 for none."""
        earliest_us = 0
        for activity in self._all.values():
            if activity.due_us:
                # If the clock was set back, nothing waits longer than its pause because of that.
                activity.due_us = min(activity.due_us, now_us + activity.pause_us)
                earliest_us = min(earliest_us or activity.due_us, activity.due_us)
        return earliest_us

    def now_due(self, now_us: int) -> list[str]:
        """Return the replicas that waited for an instant that has come; they wait no longer."""
        due = [known for known, each in self._all.items() if each.due_us and each.due_us <= now_us]
        for replica_id in due:
            self._all[replica_id].due_us = 0
        return due
