"""What a service account's token must be for to call each method."""

from __future__ import annotations

from services.gateway.core.service_accounts import Scope

METHODS: dict[Scope, frozenset[str]] = {
    Scope.READ: frozenset(
        {
            "DeploymentService/GetDeployment",
            "DeploymentService/ListDeployments",
            "DeploymentService/GetRollout",
            "DeploymentService/ExplainDeployment",
            "DeploymentService/WatchDeployments",
            "ReplicaService/ReadLogs",
            "NodeService/ListNodes",
            "NodeService/GetNode",
            "NodeService/ListNodeReplicas",
            "NodeService/WatchNodes",
            "IdentityService/ListOrganizations",
            "IdentityService/ListMyOrganizations",
            "IdentityService/ListMembers",
            "IdentityService/ListClusters",
            "IdentityService/GetClusterStatus",
            "PolicyService/ListPolicies",
            "PolicyService/GetPolicyStatus",
            "AuditService/ReadEvents",
            "AuditService/GetStateAt",
            "AuditService/GetLogCheckpoint",
        }
    ),
    Scope.DEPLOY: frozenset(
        {
            "DeploymentService/CreateDeployment",
            "DeploymentService/CreateDeployments",
            "DeploymentService/SubmitDeployments",
            "DeploymentService/UpdateDeployment",
            "DeploymentService/RollbackDeployment",
            "DeploymentService/ScaleDeployment",
            "DeploymentService/DeleteDeployment",
            "DeploymentService/PlanDeployment",
            "ReplicaService/Exec",
        }
    ),
    Scope.NODES: frozenset(
        {
            "NodeService/CordonNode",
            "NodeService/UncordonNode",
            "NodeService/DrainNode",
            "NodeService/RemoveNode",
            "NodeService/CreateJoinToken",
            "NodeService/ListJoinTokens",
            "NodeService/RevokeJoinToken",
            "NodeService/PlanRebalance",
            "NodeService/ApplyRebalance",
            "NodeService/GetRebalance",
        }
    ),
    Scope.AUDIT: frozenset(
        {
            "AuditService/VerifyLog",
            "AuditService/GetLogScrub",
            "AuditService/ProveCommit",
            "AuditService/VerifyDecisions",
            "AuditService/CompareReplay",
        }
    ),
    Scope.ADMIN: frozenset(
        {
            "IdentityService/SetMemberRole",
            "IdentityService/RemoveMember",
            "IdentityService/GetInviteCode",
            "IdentityService/RenewInviteCode",
            "IdentityService/RevokeInviteCode",
            "IdentityService/CreateCluster",
            "IdentityService/SetClusterQuota",
        }
    ),
}
# A token can't sign out, own or join an organization, make tokens, or set what all must follow.
FOR_PEOPLE = frozenset(
    {
        "IdentityService/Logout",
        "IdentityService/CreateOrganization",
        "IdentityService/JoinOrganization",
        "IdentityService/SetOrganizationQuota",
        "PolicyService/ActivatePolicy",
        "TokenService/CreateToken",
        "TokenService/ListTokens",
        "TokenService/RevokeToken",
    }
)
_SCOPES = {name: scope for scope, names in METHODS.items() for name in names}


def scope_of(path: str) -> Scope | None:
    """Return the scope that a method's path takes; None if it is for people, as the unknown are.

    A path is as gRPC has it: `/fogbank.v1.NodeService/GetNode`.
    """
    return _SCOPES.get(path.removeprefix("/fogbank.v1."))
