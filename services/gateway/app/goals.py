"""How long a caller waits with a deployment."""

from __future__ import annotations

from enum import Enum

from fogbank.domain.states import DeploymentStatus


class Goal(Enum):
    """How far a deployment should have got before a caller is answered."""

    SCHEDULED = frozenset(set(DeploymentStatus) - {DeploymentStatus.PENDING})
    RUNNING = frozenset(
        {
            DeploymentStatus.RUNNING,
            DeploymentStatus.COMPLETED,
            DeploymentStatus.FAILED,
            DeploymentStatus.DELETED,
        }
    )
