"""Which event type is which: one explicit table, by full protobuf name.

The name is the version. A type is never changed but by adding fields; a new meaning is a new
name, and the old one stays readable for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from fogbank.codec import facts, joining, node_commands, rebalances, rounds, tenancy
from fogbank.domain import events as ev
from fogbank.v1 import facts_pb2, rounds_pb2


@dataclass(frozen=True, slots=True)
class EventType:
    """One type: the domain's class, the contract's message, and the ways between them.

    The way back is from a `glance` of the message where there is one.
    """

    domain: type[Any]
    message: type[Message]
    to_pb: Callable[[Any], Message]
    from_pb: Callable[[Any], Any]
    glance: type[Message] | None = None

    @property
    def name(self) -> str:
        """Full protobuf name."""
        return str(self.message.DESCRIPTOR.full_name)

    def parse(self, payload: bytes) -> Message:
        """Return what `from_pb` takes; DecodeError for bytes that are none."""
        return (self.glance or self.message).FromString(payload)

    def read(self, payload: bytes) -> Any:
        """Return the event that a message's bytes hold; DecodeError or ValueError if none."""
        return self.from_pb(self.parse(payload))


_TYPES = (
    EventType(
        ev.OrganizationCreated,
        facts_pb2.OrganizationCreated,
        tenancy.organization_created_to_pb,
        tenancy.organization_created_from_pb,
    ),
    EventType(
        ev.ClusterCreated,
        facts_pb2.ClusterCreated,
        tenancy.cluster_created_to_pb,
        tenancy.cluster_created_from_pb,
    ),
    EventType(
        ev.ClusterQuotaSet,
        facts_pb2.ClusterQuotaSet,
        tenancy.cluster_quota_set_to_pb,
        tenancy.cluster_quota_set_from_pb,
    ),
    EventType(
        ev.OrganizationQuotaSet,
        facts_pb2.OrganizationQuotaSet,
        tenancy.organization_quota_set_to_pb,
        tenancy.organization_quota_set_from_pb,
    ),
    EventType(
        ev.MembershipSet,
        facts_pb2.MembershipSet,
        tenancy.membership_set_to_pb,
        tenancy.membership_set_from_pb,
    ),
    EventType(
        ev.PolicyActivated,
        facts_pb2.PolicyActivated,
        facts.policy_activated_to_pb,
        facts.policy_activated_from_pb,
    ),
    EventType(
        ev.DeploymentCreated,
        facts_pb2.DeploymentCreated,
        facts.deployment_created_to_pb,
        facts.deployment_created_from_pb,
        facts.DEPLOYMENT_CREATED,
    ),
    EventType(
        ev.DeploymentScaled,
        facts_pb2.DeploymentScaled,
        facts.deployment_scaled_to_pb,
        facts.deployment_scaled_from_pb,
    ),
    EventType(
        ev.DeploymentUpdated,
        facts_pb2.DeploymentUpdated,
        facts.deployment_updated_to_pb,
        facts.deployment_updated_from_pb,
        facts.DEPLOYMENT_UPDATED,
    ),
    EventType(
        ev.DeploymentDeleted,
        facts_pb2.DeploymentDeleted,
        facts.deployment_deleted_to_pb,
        facts.deployment_deleted_from_pb,
    ),
    EventType(
        ev.NodeConnected,
        facts_pb2.NodeConnected,
        facts.node_connected_to_pb,
        facts.node_connected_from_pb,
    ),
    EventType(
        ev.NodeCapacityChanged,
        facts_pb2.NodeCapacityChanged,
        facts.node_capacity_changed_to_pb,
        facts.node_capacity_changed_from_pb,
    ),
    EventType(
        ev.NodeLoadChanged,
        facts_pb2.NodeLoadChanged,
        facts.node_load_changed_to_pb,
        facts.node_load_changed_from_pb,
    ),
    EventType(
        ev.NodeReported,
        facts_pb2.NodeReported,
        facts.node_reported_to_pb,
        facts.node_reported_from_pb,
    ),
    EventType(
        ev.NodeCordoned,
        facts_pb2.NodeCordoned,
        node_commands.node_cordoned_to_pb,
        node_commands.node_cordoned_from_pb,
    ),
    EventType(
        ev.NodeUncordoned,
        facts_pb2.NodeUncordoned,
        node_commands.node_uncordoned_to_pb,
        node_commands.node_uncordoned_from_pb,
    ),
    EventType(
        ev.NodeDraining,
        facts_pb2.NodeDraining,
        node_commands.node_draining_to_pb,
        node_commands.node_draining_from_pb,
    ),
    EventType(
        ev.NodeRemoved,
        facts_pb2.NodeRemoved,
        node_commands.node_removed_to_pb,
        node_commands.node_removed_from_pb,
    ),
    EventType(
        ev.JoinTokenCreated,
        facts_pb2.JoinTokenCreated,
        joining.join_token_created_to_pb,
        joining.join_token_created_from_pb,
    ),
    EventType(
        ev.JoinTokenRevoked,
        facts_pb2.JoinTokenRevoked,
        joining.join_token_revoked_to_pb,
        joining.join_token_revoked_from_pb,
    ),
    EventType(
        ev.NodeJoined,
        facts_pb2.NodeJoined,
        joining.node_joined_to_pb,
        joining.node_joined_from_pb,
    ),
    EventType(
        ev.NodeIdentityRevoked,
        facts_pb2.NodeIdentityRevoked,
        joining.node_identity_revoked_to_pb,
        joining.node_identity_revoked_from_pb,
    ),
    EventType(
        ev.CopiedIdentityRefused,
        facts_pb2.CopiedIdentityRefused,
        joining.copied_identity_refused_to_pb,
        joining.copied_identity_refused_from_pb,
    ),
    EventType(
        ev.RebalanceRequested,
        facts_pb2.RebalanceRequested,
        rebalances.rebalance_requested_to_pb,
        rebalances.rebalance_requested_from_pb,
    ),
    EventType(
        ev.RoundDecided,
        rounds_pb2.RoundDecided,
        rounds.round_decided_to_pb,
        rounds.round_decided_from_pb,
    ),
)

EVENT_TYPES: Mapping[str, EventType] = {kind.name: kind for kind in _TYPES}
BY_DOMAIN: Mapping[type[Any], EventType] = {kind.domain: kind for kind in _TYPES}
