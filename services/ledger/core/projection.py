"""The fold of the log into rows, kept in step with what the tables hold.

Folding goes commit by commit, so that every status a deployment passed through is in its history;
rows are taken once per batch, of what the batch touched, and only those that differ from what the
tables hold. What changes all the time (states) goes without what its author or host said once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from fogbank.domain.envelope import Commit
from fogbank.domain.facts import DeploymentFact, NodeFact
from fogbank.domain.fleet import FleetState
from fogbank.domain.rollouts import wanted_revision
from fogbank.domain.snapshots import SnapshotRefusedError
from fogbank.domain.states import DeploymentStatus, NodeStatus
from fogbank.domain.status import StatusTracker, replica_views
from services.ledger.core.making import (
    change_row,
    deployment_row,
    deployment_state_row,
    node_row,
    node_state_row,
)
from services.ledger.core.past_rows import PastKeeper, PastRows
from services.ledger.core.rows import (
    ChangeRow,
    DeploymentRow,
    DeploymentStateRow,
    NodeRow,
    NodeStateRow,
    ReplicaRow,
)
from services.ledger.core.touched import ThingKind, TouchRow

# Raised whenever the same log leads to other rows than before, so that ledgers build theirs again.
PROJECTION = 12

# So many deployments or nodes are looked at in a row while rows are made: less than a millisecond.
_LOOKS_IN_A_ROW = 16

# While no more deployments than these wait to be taken, few will change again until they are.
_FEW_TOUCHED = 4_000

# The position of no event.
_NOWHERE = -1


@dataclass(slots=True)
class TableChanges:
    """What to write so that the tables say what the log says; `changes`, `touches`, `past` are new.

    Whole rows of deployments come in the place of those that stand under their ids: what was
    forgotten may be created anew. Those of nodes come in the place of those that `former_nodes`
    names, and have no row yet otherwise. States are of other rows than those.
    """

    deployments: list[DeploymentRow] = field(default_factory=list)
    deployment_states: list[DeploymentStateRow] = field(default_factory=list)
    nodes: list[NodeRow] = field(default_factory=list)
    former_nodes: list[str] = field(default_factory=list)
    node_states: list[NodeStateRow] = field(default_factory=list)
    changes: list[ChangeRow] = field(default_factory=list)
    touches: list[TouchRow] = field(default_factory=list)
    past: PastRows = field(default_factory=PastRows)

    @property
    def rows(self) -> int:
        """How many rows there are to write."""
        deployments = len(self.deployments) + len(self.deployment_states)
        nodes = len(self.nodes) + len(self.node_states)
        happened = len(self.changes) + len(self.touches) + len(self.past)
        return deployments + nodes + happened


class Status(NamedTuple):
    """A deployment's status as its row has it, and since when the row is as it is."""

    status: DeploymentStatus
    updated_at_us: int


class _Known(Struct, gc=False):
    """A deployment as the tables have it.

    All that its author says of it comes with a new `version`, or back with a former revision, the
    `wanted` one.
    """

    version: int
    wanted: int
    state: DeploymentStateRow


class _KnownNode(Struct, gc=False):
    """A node as the tables have it: what its whole row was made of, and its state.

    `described` and `commanded` are where it, and where operators last said something of it: while
    they stay, so does its `host`.
    """

    described: int
    commanded: int
    host: tuple[Any, ...]
    state: NodeStateRow


class Projection:
    """A fleet's state, and the rows that were made of it.

    `take` must be followed by a successful write: what it returned counts as written.
    """

    def __init__(self, fleet: FleetState | None = None) -> None:
        self.fleet = FleetState() if fleet is None else fleet
        self.fleet.before_forgetting = self._take_last_row
        self._past = PastKeeper(self.fleet)
        self._tracker = StatusTracker()
        self._changes: list[ChangeRow] = []
        self._touches: list[TouchRow] = []
        # Of deployments that the fleet forgot before they were taken.
        self._last_rows: dict[str, DeploymentRow] = {}
        # Since the last `take`.
        self._touched: set[str] = set()
        self._touched_nodes: set[str] = set()
        # States of deployments that were touched, made while what they are of was at hand.
        self._made: dict[str, DeploymentStateRow] = {}
        # What the tables hold: the states, and by what to tell whether the rest is another.
        self._known: dict[str, _Known] = {}
        self._known_nodes: dict[str, _KnownNode] = {}
        self._replica_states: Counter[str] = Counter()
        self._node_statuses: Counter[str] = Counter()

    @classmethod
    def standing(cls, fleet: FleetState, statuses: Mapping[str, Status]) -> Projection:
        """Return the projection of a state whose rows stand in the tables, by their statuses.

        Raises:
            SnapshotRefusedError: the tables have no such deployment as the state has.
        """
        projection = cls(fleet)
        for deployment_id in fleet.facts.deployments:
            known = statuses.get(deployment_id)
            if known is None:
                text = f"the tables have no deployment {deployment_id}"
                raise SnapshotRefusedError(text)
            projection._tracker.current[deployment_id] = known.status
            projection._tracker.updated_at_us[deployment_id] = known.updated_at_us
            projection._touched.add(deployment_id)
        projection._touched_nodes |= fleet.facts.nodes.keys()
        projection.take()
        return projection

    @property
    def position(self) -> int:
        """The sequence of the last commit taken in."""
        return self.fleet.position

    @property
    def touched(self) -> int:
        """How many deployments and nodes the next `take` looks at."""
        return len(self._touched) + len(self._touched_nodes)

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
        fleet = self.fleet
        policy = fleet.facts.policy_position
        folded, touched = self._past.fold(commit)
        for node_id in folded.nodes:
            if not self._is_known(node_id):
                self._touched_nodes.add(node_id)
        if fleet.facts.policy_position != policy:
            # The bound of busy may have moved for every node.
            self._touched_nodes |= fleet.facts.nodes.keys()
        for deployment_id in sorted(folded.deployments):
            deployment = fleet.facts.deployments.get(deployment_id)
            if deployment is None:
                # A round may name a deployment that no fact made.
                continue
            self._touched.add(deployment_id)
            self._made.pop(deployment_id, None)
            change = self._tracker.look(fleet, folded, deployment)
            if change is None:
                continue
            at = touched.take(ThingKind.DEPLOYMENT, deployment_id)
            self._changes.append(change_row(change, at))
            if change.old is None:
                former = self._last_rows.pop(deployment_id, None)
                self._past.created(deployment_id, commit.sequence, former)
            elif len(self._touched) <= _FEW_TOUCHED:
                # Its replicas are at hand now; later, memory has to be waited for.
                self._made[deployment_id] = self._state(deployment)
        self._touches += touched.rows
        self._forget(folded.forgotten)

    def _take_last_row(self, deployment: DeploymentFact) -> None:
        """Make the last row of a deployment that is about to be forgotten, if it is to be taken."""
        if deployment.id in self._touched:
            self._last_rows[deployment.id] = self._whole_row(deployment, self._state(deployment))

    def _forget(self, deployment_ids: Iterable[str]) -> None:
        """Forget what was kept of deployments that the fleet has forgotten; their rows stay."""
        self._tracker.forget(deployment_ids)
        for deployment_id in deployment_ids:
            self._touched.discard(deployment_id)
            self._made.pop(deployment_id, None)
            known = self._known.pop(deployment_id, None)
            if known is not None:
                self._count_replicas(known.state.replicas, ())

    @property
    def happened(self) -> int:
        """How many rows there are of what is over."""
        now = len(self._past.rows) + len(self._last_rows)
        return len(self._changes) + len(self._touches) + now

    def take_happened(self) -> TableChanges:
        """Return the rows of what is over, without those of what there is now."""
        taken = TableChanges(
            deployments=list(self._last_rows.values()),
            changes=self._changes,
            touches=self._touches,
            past=self._past.take(),
        )
        self._last_rows = {}
        self._touches = []
        self._changes = []
        return taken

    def take_whole(self) -> TableChanges:
        """Return what differs as `take` does, in whole rows only."""
        for deployment_id in self._touched & self._known.keys():
            self._known[deployment_id].version = _NOWHERE
        for node_id in self._touched_nodes & self._known_nodes.keys():
            known = self._known_nodes[node_id]
            known.described, known.host = _NOWHERE, ()
        return self.take()

    def take(self) -> TableChanges:
        """Return what differs from what was taken before, and count it as written."""
        taken = self.take_happened()
        for _ in self.taking_present(taken):
            pass
        return taken

    def taking_present(self, taken: TableChanges) -> Iterator[None]:
        """Add to what is over what there is now, as `take` does; yield after every few rows.

        Nothing may be folded before the end.
        """
        # Sorted, so that the same log leads to the same writes.
        for looked_at, deployment_id in enumerate(sorted(self._touched)):
            self._take_deployment(deployment_id, taken)
            if looked_at % _LOOKS_IN_A_ROW == 0:
                yield
        for looked_at, node_id in enumerate(sorted(self._touched_nodes)):
            node = self.fleet.facts.nodes.get(node_id)
            if node is not None:
                self._take_node(node, taken)
            if looked_at % _LOOKS_IN_A_ROW == 0:
                yield
        self._touched.clear()
        self._touched_nodes.clear()

    def _take_deployment(self, deployment_id: str, taken: TableChanges) -> None:
        deployment = self.fleet.facts.deployments[deployment_id]
        state = self._made.pop(deployment_id, None) or self._state(deployment)
        version, wanted = deployment.version, wanted_revision(self.fleet, deployment)
        known = self._known.get(deployment_id)
        if known is None:
            taken.deployments.append(self._whole_row(deployment, state))
            self._known[deployment_id] = _Known(version, wanted, state)
            self._count_replicas((), state.replicas)
            return
        former = known.state
        if known.version != version or known.wanted != wanted:
            taken.deployments.append(self._whole_row(deployment, state))
            known.version, known.wanted = version, wanted
        elif former != state:
            taken.deployment_states.append(state)
        else:
            return
        known.state = state
        self._count_replicas(former.replicas, state.replicas)

    def _state(self, deployment: DeploymentFact) -> DeploymentStateRow:
        return deployment_state_row(
            self.fleet,
            deployment,
            replica_views(self.fleet, deployment),
            self._tracker.current[deployment.id],
            self._tracker.updated_at_us[deployment.id],
        )

    def _whole_row(self, deployment: DeploymentFact, state: DeploymentStateRow) -> DeploymentRow:
        # Without updates its only revision is what it is.
        wanted = (
            deployment.revision_of(wanted_revision(self.fleet, deployment))
            if deployment.updates
            else None
        )
        return deployment_row(deployment, wanted, state)

    def _count_replicas(self, before: Iterable[ReplicaRow], after: Iterable[ReplicaRow]) -> None:
        gone, come = [row.status for row in before], [row.status for row in after]
        if gone == come:
            return
        counts = self._replica_states
        for status in gone:
            counts[status] -= 1
        for status in come:
            counts[status] += 1

    def _is_known(self, node_id: str) -> bool:
        """Tell whether a node is as the tables have it, where that is to be seen at once.

        Mostly it took one more replica, which its row does not tell.
        """
        node, known = self.fleet.facts.nodes.get(node_id), self._known_nodes.get(node_id)
        if node is None or known is None:
            return False
        state = known.state
        return (
            node.cpu_percent == state.cpu_usage_percent
            and node.memory_percent == state.memory_usage_percent
            and node.described_position == known.described
            and node.commanded_position == known.commanded
            and state.exact_status == NodeStatus.ACTIVE
            and self.fleet.node_status(node) is NodeStatus.ACTIVE
        )

    def _take_node(self, node: NodeFact, taken: TableChanges) -> None:
        described, commanded = node.described_position, node.commanded_position
        state = node_state_row(self.fleet, node)
        known = self._known_nodes.get(node.id)
        if known is None:
            host = self._host(node)
            taken.nodes.append(node_row(node, self.fleet.facts.details_of(node.id), state))
            self._known_nodes[node.id] = _KnownNode(described, commanded, host, state)
            self._node_statuses[state.status] += 1
            return
        host, former = known.host, known.state
        if known.described != described or known.commanded != commanded:
            known.described, known.commanded = described, commanded
            known.host = self._host(node)
        if known.host != host:
            taken.nodes.append(node_row(node, self.fleet.facts.details_of(node.id), state))
            taken.former_nodes.append(node.id)
        elif former != state:
            taken.node_states.append(state)
        else:
            return
        known.state = state
        self._node_statuses[state.status] += 1
        self._node_statuses[former.status] -= 1

    def _host(self, node: NodeFact) -> tuple[Any, ...]:
        """Return what a node's whole row is made of, but for its state."""
        return (
            node.fingerprint,
            self.fleet.facts.details_of(node.id),
            node.epoch,
            node.name,
            node.connected_at_us,
            node.cordoned,
            node.draining,
            node.drain_deadline_us,
        )
