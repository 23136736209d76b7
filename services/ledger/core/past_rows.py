"""Rows of what was: how nodes and clusters stood after each commit that changed how they stand.

Questions about the past find there at once what folding the log up to the moment would come to.
Of deployments only what no longer holds is kept: a former name or cluster, until which commit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from fogbank.domain import events as ev
from fogbank.domain.envelope import Commit
from fogbank.domain.fleet import FleetState
from fogbank.domain.folded import Folded
from fogbank.domain.node_use import NodeUse
from fogbank.domain.tenancy import Quota
from services.ledger.core.making import bounded, clean
from services.ledger.core.rows import DeploymentRow, TableRow
from services.ledger.core.touched import ThingKind, Touched

# What lists of past deployments go by.
_Known = tuple[str, str, int, int]


class FormerDeploymentRow(TableRow, frozen=True):
    """What a deployment was called, and where it was, before the commit `until_sequence`.

    One that was forgotten and created anew has such a row of its former life.
    """

    deployment_id: str
    until_sequence: int
    name: str
    user_id: str
    cluster_id: int
    created_at_us: int


class CreatedRow(TableRow, frozen=True):
    """A deployment that a commit created; the tables may hold a forgotten one of its id."""

    deployment_id: str
    sequence: int


class ClusterRow(TableRow, frozen=True):
    """A cluster after a commit; quotas and use are JSON arrays in the order of `Quota`."""

    cluster_id: int
    sequence: int
    name: str
    created_position: int
    organization_id: int
    quota: str
    organization_quota: str
    used: str


class NodeNameRow(TableRow, frozen=True):
    """What a node was called from a commit on, and whether it was removed from the fleet."""

    node_id: str
    sequence: int
    name: str
    removed: bool


class NodeUseRow(TableRow, frozen=True):
    """What replicas took of a node after a commit: amounts in the order of `Resources`.

    They are text, which costs the least of what a database can take. `touched` is the index of the
    only event of the commit that touches the node, if there is one and it counts.
    """

    node_id: str
    sequence: int
    booked: str
    held: str
    replicas: int
    touched: int | None


@dataclass(slots=True)
class PastRows:
    """Some of each kind, as they are added to the tables."""

    former_deployments: list[FormerDeploymentRow] = field(default_factory=list)
    created: list[CreatedRow] = field(default_factory=list)
    clusters: list[ClusterRow] = field(default_factory=list)
    node_names: list[NodeNameRow] = field(default_factory=list)
    node_uses: list[NodeUseRow] = field(default_factory=list)

    def __len__(self) -> int:
        """Return how many rows there are to write."""
        deployments = len(self.former_deployments) + len(self.created)
        return deployments + len(self.clusters) + len(self.node_names) + len(self.node_uses)


_LOADS = frozenset({ev.NodeLoadChanged})
_OF_NODES = frozenset({ev.NodeConnected, ev.NodeRemoved})
_OF_TENANTS = frozenset(
    {
        ev.OrganizationCreated,
        ev.ClusterCreated,
        ev.OrganizationQuotaSet,
        ev.ClusterQuotaSet,
    }
)


class PastKeeper:
    """Makes the rows of a fleet that folds commit by commit; `rows` are those not taken yet."""

    def __init__(self, fleet: FleetState) -> None:
        """Begin with a fleet, of which the tables know all so far."""
        self._fleet = fleet
        self.rows = PastRows()
        self._before: dict[str, _Known] = {}
        fleet.uses_changed()
        # How each stood in its last row.
        self._names = {node.id: (node.name, node.removed) for node in fleet.facts.nodes.values()}
        self._uses = {node_id: _use(fleet.use(node_id)) for node_id in self._names}
        self._clusters = {number: self._cluster(number) for number in fleet.facts.clusters}

    def take(self) -> PastRows:
        """Return the rows made since the last time."""
        taken, self.rows = self.rows, PastRows()
        return taken

    def fold(self, commit: Commit) -> tuple[Folded, Touched]:
        """Let the fleet take in the next commit, and make the rows of what it changes.

        Returned as well is what it touches, but for nodes whose rows say so.
        """
        kinds = {type(envelope.event) for envelope in commit.envelopes}
        if kinds == _LOADS:
            folded = self._fleet.fold(commit)
            return folded, Touched(self._fleet, commit, folded.verdicts)
        if ev.DeploymentUpdated in kinds:
            self._look_before(commit)
        folded = self._fleet.fold(commit)
        touched = Touched(self._fleet, commit, folded.verdicts)
        sequence, facts = folded.sequence, self._fleet.facts
        self._look_behind(sequence)
        if not kinds.isdisjoint(_OF_NODES):
            self._look_at_names(folded)
        nodes, clusters = self._fleet.uses_changed()
        for node_id in sorted(nodes):
            self._look_at_use(node_id, sequence, touched)
        if not kinds.isdisjoint(_OF_TENANTS):
            clusters |= facts.clusters.keys()
        for number in sorted(clusters & facts.clusters.keys()):
            self._look_at_cluster(number, sequence)
        return folded, touched

    def created(self, deployment_id: str, sequence: int, former: DeploymentRow | None) -> None:
        """Note that a deployment was created, after a former one of its id if that is at hand."""
        if former is None:
            self.rows.created.append(CreatedRow(deployment_id, sequence))
            return
        self.rows.former_deployments.append(
            FormerDeploymentRow(
                deployment_id,
                sequence,
                former.name,
                former.user_id,
                former.cluster_id,
                former.created_at_us,
            )
        )

    def _look_before(self, commit: Commit) -> None:
        for envelope in commit.envelopes:
            event = envelope.event
            if isinstance(event, ev.DeploymentUpdated):
                known = self._known(event.deployment_id)
                if known is not None:
                    self._before[event.deployment_id] = known

    def _look_behind(self, sequence: int) -> None:
        for deployment_id, (name, owner_id, cluster_id, created_at_us) in self._before.items():
            if self._known(deployment_id) != (name, owner_id, cluster_id, created_at_us):
                self.rows.former_deployments.append(
                    FormerDeploymentRow(
                        deployment_id,
                        sequence,
                        clean(name),
                        clean(owner_id),
                        cluster_id,
                        bounded(created_at_us),
                    )
                )
        self._before.clear()

    def _known(self, deployment_id: str) -> _Known | None:
        known = self._fleet.facts.deployments.get(deployment_id)
        if known is None:
            return None
        return known.spec.name, known.owner_id, known.spec.cluster_id, known.created_at_us

    def _look_at_names(self, folded: Folded) -> None:
        nodes = self._fleet.facts.nodes
        for node_id in sorted(folded.nodes & nodes.keys()):
            node = nodes[node_id]
            if self._names.get(node_id) != (node.name, node.removed):
                self._names[node_id] = node.name, node.removed
                self.rows.node_names.append(
                    NodeNameRow(node_id, folded.sequence, clean(node.name), node.removed)
                )

    def _look_at_use(self, node_id: str, sequence: int, touched: Touched) -> None:
        use = _use(self._fleet.use(node_id))
        if self._uses.get(node_id) != use:
            self._uses[node_id] = use
            at = touched.take(ThingKind.NODE, node_id)
            self.rows.node_uses.append(NodeUseRow(node_id, sequence, *use, at))

    def _look_at_cluster(self, number: int, sequence: int) -> None:
        stands = self._cluster(number)
        if self._clusters.get(number) == stands:
            return
        self._clusters[number] = stands
        cluster = self._fleet.facts.clusters[number]
        quota, common, used = stands
        self.rows.clusters.append(
            ClusterRow(
                number,
                sequence,
                clean(cluster.name),
                cluster.created_position,
                cluster.organization_id,
                _limits(quota),
                _limits(common),
                f"[{','.join(map(str, used))}]",
            )
        )

    def _cluster(self, number: int) -> tuple[Quota, Quota, tuple[int, ...]]:
        cluster = self._fleet.facts.clusters[number]
        organization = self._fleet.facts.organizations[cluster.organization_id]
        return cluster.quota, organization.quota, self._fleet.used_by_cluster(number)


def _use(use: NodeUse) -> tuple[str, str, int]:
    a, b, c, d = use.held
    held = f"{a},{b},{c},{d}"
    if use.booked != use.held:
        a, b, c, d = use.booked
        return f"{a},{b},{c},{d}", held, len(use.replicas)
    return held, held, len(use.replicas)


@lru_cache(maxsize=256)
def _limits(quota: Quota) -> str:
    limits = ["null" if limit is None else str(limit) for limit in quota.limits]
    return f"[{','.join(limits)}]"
