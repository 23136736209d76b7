"""Facts: which commands and words of nodes count, and what they change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from fogbank.checker import rebalances, revisions
from fogbank.checker.acknowledged import Promises
from fogbank.checker.bounds import out_of_bounds
from fogbank.checker.forgotten import LastRound, forget
from fogbank.checker.joining import Joining
from fogbank.checker.node_commands import NodeCommands
from fogbank.checker.report import Findings, Place, Rule
from fogbank.checker.reports import Reports
from fogbank.checker.tenancy import Tenancy
from fogbank.checker.world import Deployment, Node, World, amounts
from fogbank.v1 import facts_pb2, log_pb2

# For so long, in log time, an event's id is known.
_KNOWN_US = 24 * 3600 * 1_000_000
# Epochs and versions: a commit's sequence, then 16 bits for the event's index.
_INDEX_BITS = 16
# Words of nodes guard themselves by epoch and number; their ids are not kept.
_GUARDED = (facts_pb2.NodeReported, facts_pb2.NodeCapacityChanged, facts_pb2.NodeLoadChanged)


def position(place: Place) -> int:
    """Return a place as epochs and versions name it."""
    return (place.sequence << _INDEX_BITS) + place.index


class Facts:
    """Takes facts in, one after the other, and says of each whether it counts."""

    def __init__(self, world: World, findings: Findings, promises: Promises) -> None:
        self.reports = Reports(world, findings)
        self._world = world
        self._findings = findings
        self._promises = promises
        # A plain dictionary would find its first one ever more slowly.
        self._known: OrderedDict[str, int] = OrderedDict()
        self._log_time_us = 0
        commands = NodeCommands(world)
        tenancy = Tenancy(world)
        self._joining = Joining(world)
        self._by_kind: dict[type, Callable[[Place, log_pb2.EventEnvelope, Any], bool]] = {
            facts_pb2.OrganizationCreated: tenancy.organization,
            facts_pb2.ClusterCreated: tenancy.cluster,
            facts_pb2.ClusterQuotaSet: tenancy.cluster_quota,
            facts_pb2.OrganizationQuotaSet: tenancy.organization_quota,
            facts_pb2.MembershipSet: tenancy.membership,
            facts_pb2.PolicyActivated: self._policy,
            facts_pb2.DeploymentCreated: self._created,
            facts_pb2.DeploymentScaled: self._scaled,
            facts_pb2.DeploymentUpdated: self._updated,
            facts_pb2.DeploymentDeleted: self._deleted,
            facts_pb2.NodeConnected: self._connected,
            facts_pb2.NodeCapacityChanged: self._capacity,
            facts_pb2.NodeLoadChanged: self._load,
            facts_pb2.NodeReported: self._reported,
            facts_pb2.NodeCordoned: commands.cordoned,
            facts_pb2.NodeUncordoned: commands.uncordoned,
            facts_pb2.NodeDraining: commands.draining,
            facts_pb2.NodeRemoved: commands.removed,
            facts_pb2.JoinTokenCreated: self._joining.created,
            facts_pb2.JoinTokenRevoked: self._joining.revoked,
            facts_pb2.NodeJoined: self._joining.joined,
            facts_pb2.NodeIdentityRevoked: self._joining.struck_off,
            facts_pb2.CopiedIdentityRefused: self._joining.copy_refused,
            facts_pb2.RebalanceRequested: self._rebalance,
        }

    def take(
        self,
        place: Place,
        envelope: log_pb2.EventEnvelope,
        event: object,
        log_time_us: int,
        last_round: LastRound,
    ) -> bool:
        """Take in a fact that the log has after `last_round`; False if it is void."""
        self._forget(log_time_us)
        self._log_time_us = self._joining.log_time_us = log_time_us
        if isinstance(event, facts_pb2.DeploymentCreated):
            self._free(envelope.event_id, last_round)
        counts = not self._is_known(envelope.event_id, event)
        if counts:
            if not isinstance(event, _GUARDED):
                self._known[envelope.event_id] = log_time_us
            if wrong := out_of_bounds(envelope.event_id, event):
                self._findings.add(place, Rule.OUT_OF_BOUNDS, f"{envelope.type} says {wrong}")
                counts = False
            else:
                counts = self._by_kind[type(event)](place, envelope, event)
        self._promises.saw(envelope.event_id, event, counts=counts)
        return counts

    def _is_known(self, event_id: str, event: object) -> bool:
        """Tell whether an event came before; what created a token is known for ever.

        What created a deployment is, until the fleet has forgotten that.
        """
        match event:
            case facts_pb2.DeploymentCreated():
                created = event_id in self._world.deployments
            case facts_pb2.JoinTokenCreated():
                created = self._joining.knows(event_id)
            case _:
                created = False
        return created or event_id in self._known

    def _free(self, deployment_id: str, last_round: LastRound) -> None:
        """Let a deployment's id be free if the fleet has forgotten it."""
        former = self._world.deployments.get(deployment_id)
        if former is not None and last_round.forgot(self._world, former):
            forget(self._world, former)
            self._known.pop(deployment_id, None)

    def _forget(self, log_time_us: int) -> None:
        while self._known:
            oldest = next(iter(self._known))
            if log_time_us - self._known[oldest] <= _KNOWN_US:
                return
            del self._known[oldest]

    def _policy(self, _place: Place, _envelope: object, event: facts_pb2.PolicyActivated) -> bool:
        policy = event.policy
        self._world.policies += 1
        self._world.policy_title = f"{policy.name}@{self._world.policies}"
        self._world.retries = len(policy.retry_backoff_ms)
        self._world.busy_percent = policy.busy_load_percent
        self._world.period_ms = policy.heartbeat_period_ms
        self._world.silent_periods = policy.silent_periods
        self._world.lost_after_ms = policy.lost_after_ms
        self._world.preemption_min_priority = policy.preemption_min_priority
        self._world.preemption_min_gap = max(policy.preemption_min_gap, 1)
        self._world.preemption_across_clusters = policy.preemption_across_clusters
        return True

    def _rebalance(
        self, place: Place, _envelope: object, event: facts_pb2.RebalanceRequested
    ) -> bool:
        return rebalances.requested(self._world, event, position(place))

    def _created(
        self, place: Place, envelope: log_pb2.EventEnvelope, event: facts_pb2.DeploymentCreated
    ) -> bool:
        self._world.deployments[envelope.event_id] = Deployment(
            envelope.event_id,
            amounts(event.spec.resources),
            event.spec.replicas,
            position(place),
            event.spec,
            asked=event.spec,
            env_key=event.env_key,
        )
        return True

    def _commanded(self, envelope: log_pb2.EventEnvelope, deployment_id: str) -> Deployment | None:
        """Return the deployment that a command may change; None if the command is void."""
        deployment = self._world.deployments.get(deployment_id)
        if deployment is None or deployment.deleted:
            return None
        expected = envelope.command.expected_version
        return deployment if expected in {0, deployment.version} else None

    def _scaled(
        self, place: Place, envelope: log_pb2.EventEnvelope, event: facts_pb2.DeploymentScaled
    ) -> bool:
        deployment = self._commanded(envelope, event.deployment_id)
        if deployment is None:
            return False
        deployment.replicas = event.replicas
        deployment.version = position(place)
        return True

    def _updated(
        self, place: Place, envelope: log_pb2.EventEnvelope, event: facts_pb2.DeploymentUpdated
    ) -> bool:
        deployment = self._commanded(envelope, event.deployment_id)
        if deployment is None:
            return False
        number = event.spec.cluster_id or 1
        stays = number == (deployment.asked.cluster_id or 1)
        if not stays and not 1 <= number <= len(self._world.clusters):
            return False
        if wrong := revisions.update(deployment, event):
            self._findings.add(
                place, Rule.FORGOTTEN, f"the update of deployment {deployment.id} forgets {wrong}"
            )
        deployment.version = position(place)
        return True

    def _deleted(
        self, place: Place, envelope: log_pb2.EventEnvelope, event: facts_pb2.DeploymentDeleted
    ) -> bool:
        deployment = self._commanded(envelope, event.deployment_id)
        if deployment is None:
            return False
        deployment.deleted_at = place.sequence
        deployment.deleted_at_us = self._log_time_us
        deployment.version = position(place)
        return True

    def _connected(self, place: Place, _envelope: object, event: facts_pb2.NodeConnected) -> bool:
        node = self._world.nodes.get(event.node_id)
        if (node is not None and node.removed) or event.node_id in self._joining.outcasts:
            return False
        if node is None:
            node = self._world.nodes[event.node_id] = Node(event.node_id)
        node.name = event.name
        node.epoch = position(place)
        node.describe(event.fingerprint)
        return True

    def _speaking(self, node_id: str, epoch: int) -> Node | None:
        node = self._world.nodes.get(node_id)
        speaks = node is not None and node.epoch == epoch and not node.removed
        return node if speaks else None

    def _capacity(
        self, _place: Place, _envelope: object, event: facts_pb2.NodeCapacityChanged
    ) -> bool:
        node = self._speaking(event.node_id, event.epoch)
        if node is None:
            return False
        node.describe(event.fingerprint)
        return True

    def _load(self, _place: Place, _envelope: object, event: facts_pb2.NodeLoadChanged) -> bool:
        node = self._speaking(event.node_id, event.epoch)
        if node is None:
            return False
        node.load_percent = max(event.cpu_percent, event.memory_percent)
        return True

    def _reported(self, place: Place, _envelope: object, event: facts_pb2.NodeReported) -> bool:
        return self.reports.take(place, event)
