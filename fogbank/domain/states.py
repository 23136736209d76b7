"""The states of things. Their numbers are those of the contract (protos/fogbank/v1)."""

from __future__ import annotations

from enum import IntEnum

from fogbank.domain.members import at_hand


@at_hand
class ServiceType(IntEnum):
    """What a deployment is for; all kinds are scheduled alike."""

    COMPUTE = 1
    STORAGE = 2
    GATEWAY = 3
    MIXNODE = 4


@at_hand
class DeploymentStatus(IntEnum):
    """Where a deployment stands as a whole."""

    PENDING = 1
    SCHEDULED = 2
    RUNNING = 3
    DEGRADED = 4
    COMPLETED = 5
    FAILED = 6
    DELETED = 7


@at_hand
class ReplicaState(IntEnum):
    """How far a replica got on its node; within one restart it only grows."""

    NEW = 1
    PENDING = 2
    ASSIGNED = 3
    ACCEPTED = 4
    PREPARING = 5
    READY = 6
    STARTING = 7
    RUNNING = 8
    COMPLETE = 9
    STOPPED = 10
    FAILED = 11
    REJECTED = 12
    ORPHANED = 13

    @property
    def ended(self) -> bool:
        """Tell whether the container is known not to run any more."""
        return self >= ReplicaState.COMPLETE


@at_hand
class Health(IntEnum):
    """What probes, or the want of them, say."""

    UNKNOWN = 1
    HEALTHY = 2
    UNHEALTHY = 3


@at_hand
class RestartPolicy(IntEnum):
    """What an agent does when a container ends."""

    ALWAYS = 1
    ON_FAILURE = 2
    NEVER = 3


@at_hand
class NodeStatus(IntEnum):
    """What a node does; only idle and active ones take new replicas."""

    IDLE = 1
    ACTIVE = 2
    BUSY = 3
    OFFLINE = 4
    MAINTENANCE = 5
    REMOVED = 6


@at_hand
class RuntimeKind(IntEnum):
    """How a node runs containers."""

    SIMULATED = 1
    CONTAINER = 2


@at_hand
class ConstraintOperator(IntEnum):
    """How a constraint compares a node's attribute with its values."""

    EQUAL = 1
    NOT_EQUAL = 2
    IN = 3
    EXISTS = 4
