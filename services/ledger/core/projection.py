"""The fold of the log into rows, kept in step with what the tables hold.

Folding goes commit by commit, so that every status a deployment passed through is in its history;
rows are made once per batch, of what the batch touched, and only those that differ from what the
tables hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.status import StatusChange, StatusTracker, replica_views
from services.ledger.core.making import (
    change_row,
    deployment_row,
    node_row,
    replica_row,
    resources_row,
)
from services.ledger.core.rows import (
    ChangeRow,
    DeploymentRow,
    NodeRow,
    ReplicaRow,
    ResourcesRow,
)

RowT = TypeVar("RowT", bound=NamedTuple)


@dataclass(slots=True)
class TableChanges:
    """What to write so that the tables say what the log says; `changes` are new history."""

    deployments: list[DeploymentRow] = field(default_factory=list)
    resources: list[ResourcesRow] = field(default_factory=list)
    replicas: list[ReplicaRow] = field(default_factory=list)
    gone_replicas: list[str] = field(default_factory=list)
    nodes: list[NodeRow] = field(default_factory=list)
    changes: list[ChangeRow] = field(default_factory=list)


class Projection:
    """A fleet's state, and the rows that were made of it.

    `take` must be followed by a successful write: what it returned counts as written.
    """

    def __init__(self) -> None:
        self.fleet = FleetState()
        self._tracker = StatusTracker()
        self._updated_at_us: dict[str, int] = {}
        self._changes: list[StatusChange] = []
        self._touched_deployments: set[str] = set()
        self._touched_nodes: set[str] = set()
        self._deployments: dict[str, DeploymentRow] = {}
        self._resources: dict[str, ResourcesRow] = {}
        self._replicas: dict[str, dict[str, ReplicaRow]] = {}
        self._nodes: dict[str, NodeRow] = {}
        self._replica_states: Counter[str] = Counter()
        self._node_statuses: Counter[str] = Counter()

    @property
    def position(self) -> int:
        """The sequence of the last commit taken in."""
        return self.fleet.position

    @property
    def touched(self) -> int:
        """How many deployments and nodes the next `take` looks at."""
        return len(self._touched_deployments) + len(self._touched_nodes)

    @property
    def replica_states(self) -> Counter[str]:
        """How many replicas are in each public state, as of the last `take`."""
        return self._replica_states

    @property
    def node_statuses(self) -> Counter[str]:
        """How many nodes are in each status, as of the last `take`."""
        return self._node_statuses

    def fold(self, commit: Commit) -> None:
        """Take in the next commit."""
        policy = self.fleet.facts.policy_position
        folded = self.fleet.fold(commit)
        changes = self._tracker.update(self.fleet, folded)
        self._changes += changes
        self._touched_deployments |= folded.deployments
        self._touched_nodes |= folded.nodes
        if self.fleet.facts.policy_position != policy:
            # The bound of busy may have moved for every node.
            self._touched_nodes |= self.fleet.facts.nodes.keys()
        for change in changes:
            self._updated_at_us[change.deployment_id] = folded.log_time_us
        first_of_commit = folded.verdicts[0].position if folded.verdicts else 0
        for deployment_id in folded.deployments:
            deployment = self.fleet.facts.deployments.get(deployment_id)
            if deployment is not None and deployment.version >= first_of_commit:
                self._updated_at_us[deployment_id] = folded.log_time_us

    def take(self) -> TableChanges:
        """Return what differs from what was taken before, and count it as written."""
        taken = TableChanges(changes=[change_row(change) for change in self._changes])
        for deployment_id in sorted(self._touched_deployments):
            self._take_deployment(deployment_id, taken)
        for node_id in sorted(self._touched_nodes):
            self._take_node(node_id, taken)
        self._changes.clear()
        self._touched_deployments.clear()
        self._touched_nodes.clear()
        return taken

    def _take_deployment(self, deployment_id: str, taken: TableChanges) -> None:
        deployment = self.fleet.facts.deployments.get(deployment_id)
        if deployment is None:
            # A round may name a deployment that no fact made.
            return
        views = replica_views(self.fleet, deployment)
        row = deployment_row(
            self.fleet,
            deployment,
            views,
            self._tracker.current[deployment_id],
            self._updated_at_us[deployment_id],
        )
        _keep(self._deployments, deployment_id, row, taken.deployments)
        _keep(self._resources, deployment_id, resources_row(deployment), taken.resources)
        self._take_replicas(
            deployment_id,
            [replica_row(self.fleet, deployment_id, view) for view in views],
            taken,
        )

    def _take_replicas(
        self, deployment_id: str, rows: Iterable[ReplicaRow], taken: TableChanges
    ) -> None:
        before = self._replicas.get(deployment_id, {})
        after: dict[str, ReplicaRow] = {}
        for row in rows:
            after[row.id] = row
            former = before.get(row.id)
            if former != row:
                taken.replicas.append(row)
                self._replica_states[row.status] += 1
                if former is not None:
                    self._replica_states[former.status] -= 1
        for replica_id, former in before.items():
            if replica_id not in after:
                taken.gone_replicas.append(replica_id)
                self._replica_states[former.status] -= 1
        self._replicas[deployment_id] = after

    def _take_node(self, node_id: str, taken: TableChanges) -> None:
        node = self.fleet.facts.nodes.get(node_id)
        if node is None:
            return
        row = node_row(self.fleet, node)
        former = self._nodes.get(node_id)
        if _keep(self._nodes, node_id, row, taken.nodes):
            self._node_statuses[row.status] += 1
            if former is not None:
                self._node_statuses[former.status] -= 1


def _keep(known: dict[str, RowT], key: str, row: RowT, changed: list[RowT]) -> bool:
    """Remember a row and list it if it is new or another; tell whether it is."""
    if known.get(key) == row:
        return False
    known[key] = row
    changed.append(row)
    return True
