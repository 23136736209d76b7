"""What an author asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from fogbank.domain.containers import PLAIN_CONTAINER, ContainerSpec
from fogbank.domain.resources import Resources
from fogbank.domain.states import ConstraintOperator, RestartPolicy, ServiceType
from fogbank.domain.value import value

DEFAULT_REGION = "us-east"
DEFAULT_CLUSTER_ID = 1
DEFAULT_PRIORITY = 50
HIGH_PRIORITY_FROM = 60
MEDIUM_PRIORITY_FROM = 50

# Words for priorities: the three classes, and the service levels that map onto them.
PRIORITY_WORDS: Mapping[str, int] = {
    "low": 20,
    "medium": 50,
    "high": 80,
    "bronze": 20,
    "silver": 40,
    "gold": 60,
    "platinum": 80,
}
PRIORITY_CLASSES = ("low", "medium", "high")


def priority_class(priority: int) -> str:
    """Return the class that a priority is of, one of `PRIORITY_CLASSES`."""
    if priority >= HIGH_PRIORITY_FROM:
        return "high"
    return "medium" if priority >= MEDIUM_PRIORITY_FROM else "low"


@value
class Constraint:
    """A demand on a node: attribute is `region`, `arch`, `node` or `label.<key>`."""

    attribute: str
    operator: ConstraintOperator
    values: tuple[str, ...] = ()


@value
class RolloutSpec:
    """How an update replaces replicas, times in milliseconds.

    At most `max_surge` more than wanted at a time, and at most `max_unavailable` fewer that are
    well. A new replica is well once it ran healthily for `min_healthy_ms`; if the new ones fail,
    or make no progress for `progress_deadline_ms`, `auto_rollback` goes back.
    """

    max_surge: int = 1
    max_unavailable: int = 0
    min_healthy_ms: int = 5_000
    progress_deadline_ms: int = 600_000
    auto_rollback: bool = True


# What a container has to end by itself, and at most where `stop_on_client_after_ms` is set.
STOP_GRACE_MS = 10_000


@value
class DisconnectRules:
    """What becomes of replicas whose node is cut off, times in milliseconds.

    They are replaced elsewhere after `lost_after_ms` (0: as the policy says), or never; their own
    node stops them after `stop_on_client_after_ms` (0: never).
    """

    lost_after_ms: int = 0
    replace: bool = True
    stop_on_client_after_ms: int = 0

    @property
    def stopped_after_ms(self) -> int:
        """After which silence their own node has stopped them; 0 where it does not."""
        stop_ms = self.stop_on_client_after_ms
        return stop_ms + STOP_GRACE_MS if stop_ms else 0

    def replaced_after_ms(self, policy_ms: int) -> int:
        """Return the silence after which they may be replaced, the policy's being `policy_ms`.

        Never before their own node has stopped them, whatever a later policy says.
        """
        stopped_ms = self.stopped_after_ms
        return max(self.lost_after_ms or policy_ms, stopped_ms + 1 if stopped_ms else 0)


@value
class DeploymentSpec:
    """A deployment as its author wants it, defaults filled in; resources are per replica."""

    name: str
    type: ServiceType
    container_image: str
    replicas: int
    resources: Resources
    region: str = DEFAULT_REGION
    priority: int = DEFAULT_PRIORITY
    cluster_id: int = DEFAULT_CLUSTER_ID
    strategy: str = ""
    wait_for_capacity: bool = False
    constraints: tuple[Constraint, ...] = ()
    gpu_model: str = ""
    restart: RestartPolicy = RestartPolicy.ALWAYS
    labels: Mapping[str, str] = field(default_factory=dict)
    allow_colocation: bool = False
    rollout: RolloutSpec = RolloutSpec()
    disconnect: DisconnectRules = DisconnectRules()
    container: ContainerSpec = PLAIN_CONTAINER
