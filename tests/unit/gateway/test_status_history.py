"""The latest changes of deployments' statuses that a gateway keeps in memory."""

from typing import Any

from fogbank.domain.states import DeploymentStatus as Status
from fogbank.domain.status import StatusChange
from services.gateway.app.status_history import StatusHistory


def test_the_latest_changes_are_those_of_the_present_life() -> None:
    ledger: Any = None
    history = StatusHistory(ledger, kept=100)
    ways = [
        (None, Status.PENDING),
        (Status.PENDING, Status.DELETED),
        (None, Status.PENDING),
        (Status.PENDING, Status.SCHEDULED),
    ]
    changes = [StatusChange("d1", old, new, at, "", at) for at, (old, new) in enumerate(ways, 1)]
    # All in one commit, or each in its own, as one gateway reads them and another one.
    history.remember(changes[:2])
    assert history.recent("d1") == (changes[1], changes[0])
    history.remember(changes[2:])
    assert history.recent("d1") == (changes[3], changes[2])
    history.remember(changes)
    assert history.recent("d1") == (changes[3], changes[2])
    assert history.after(0, 9)[0] == changes[:2] + changes[2:] + changes, "all is history"
