"""All services of the gateway's gRPC face, on one server."""

from __future__ import annotations

from dataclasses import dataclass

import grpc.aio

from fogbank.log.port import EventLog
from fogbank.v1 import (
    agent_service_pb2,
    agent_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    deployment_service_pb2,
    deployment_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
    node_service_pb2,
    node_service_pb2_grpc,
    policy_service_pb2,
    policy_service_pb2_grpc,
    replica_service_pb2,
    replica_service_pb2_grpc,
    system_service_pb2,
    system_service_pb2_grpc,
    token_service_pb2,
    token_service_pb2_grpc,
)
from services.gateway.app.agents import Agents
from services.gateway.app.clusters import Clusters
from services.gateway.app.deployments import Deployments
from services.gateway.app.errands import Errands
from services.gateway.app.events import Events
from services.gateway.app.identity import Identity
from services.gateway.app.joining import Joining
from services.gateway.app.node_commands import NodeCommands
from services.gateway.app.nodes import Nodes
from services.gateway.app.organizations import Organizations
from services.gateway.app.past import Past
from services.gateway.app.planning import Planning
from services.gateway.app.policies import Policies
from services.gateway.app.ports import LedgerAudits
from services.gateway.app.rebalances import Rebalances
from services.gateway.app.service_accounts import ServiceAccounts
from services.gateway.app.updates import Updates
from services.gateway.core.bounds import Bounds
from services.gateway.grpc_api.agent_service import AgentService
from services.gateway.grpc_api.audit_service import AuditService
from services.gateway.grpc_api.deployment_service import DeploymentService
from services.gateway.grpc_api.identity_service import IdentityService
from services.gateway.grpc_api.node_service import NodeService
from services.gateway.grpc_api.policy_service import PolicyService
from services.gateway.grpc_api.replica_service import ReplicaService
from services.gateway.grpc_api.system_service import SystemService
from services.gateway.grpc_api.token_service import TokenService

SERVICE_NAMES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (deployment_service_pb2, "DeploymentService"),
        (node_service_pb2, "NodeService"),
        (identity_service_pb2, "IdentityService"),
        (policy_service_pb2, "PolicyService"),
        (audit_service_pb2, "AuditService"),
        (replica_service_pb2, "ReplicaService"),
        (agent_service_pb2, "AgentService"),
        (token_service_pb2, "TokenService"),
        (system_service_pb2, "SystemService"),
    )
)


@dataclass(frozen=True, slots=True)
class GrpcDependencies:
    """The application layer behind the gRPC face, and what the log's subjects begin with."""

    deployments: Deployments
    planning: Planning
    updates: Updates
    nodes: Nodes
    node_commands: NodeCommands
    rebalances: Rebalances
    agents: Agents
    errands: Errands
    joining: Joining
    identity: Identity
    organizations: Organizations
    clusters: Clusters
    service_accounts: ServiceAccounts
    policies: Policies
    log: EventLog
    events: Events
    audits: LedgerAudits
    subject_prefix: str
    fleet: str
    agent_token: str
    bounds: Bounds


def add_to_server(uses: GrpcDependencies, server: grpc.aio.Server) -> None:
    """Register all services on a server that is not started yet."""
    deployment_service_pb2_grpc.add_DeploymentServiceServicer_to_server(
        DeploymentService(
            uses.deployments,
            uses.planning,
            uses.updates,
            uses.identity.limits,
            uses.bounds,
            organizations=uses.organizations,
        ),
        server,
    )
    node_service_pb2_grpc.add_NodeServiceServicer_to_server(
        NodeService(
            uses.nodes, uses.node_commands, uses.rebalances, uses.joining, uses.identity.limits
        ),
        server,
    )
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(
        IdentityService(uses.identity, uses.organizations, uses.clusters), server
    )
    token_service_pb2_grpc.add_TokenServiceServicer_to_server(
        TokenService(uses.service_accounts), server
    )
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(SystemService(), server)
    policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(
        PolicyService(uses.policies), server
    )
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(
        AuditService(
            uses.log,
            uses.events,
            uses.audits,
            Past(uses.deployments, uses.nodes, uses.clusters),
            uses.organizations,
            subject_prefix=uses.subject_prefix,
        ),
        server,
    )
    replica_service_pb2_grpc.add_ReplicaServiceServicer_to_server(
        ReplicaService(uses.errands), server
    )
    agent_service_pb2_grpc.add_AgentServiceServicer_to_server(
        AgentService(
            uses.agents,
            uses.joining,
            uses.errands,
            uses.identity.limits,
            uses.agent_token,
            uses.fleet,
        ),
        server,
    )
