"""What a service account's token must be for to use each route."""

from __future__ import annotations

from services.gateway.core.service_accounts import Scope

ROUTES: dict[Scope, frozenset[tuple[str, str]]] = {
    Scope.READ: frozenset(
        {
            ("GET", "/api/deployment/list"),
            ("GET", "/api/deployment/status/{deployment_id}"),
            ("GET", "/api/deployment/explain/{deployment_id}"),
            ("GET", "/api/deployment/rollout/{deployment_id}"),
            ("GET", "/api/deployments"),
            ("GET", "/api/deployments/{deployment_id}"),
            ("GET", "/api/orgs/all"),
            ("GET", "/api/orgs/my"),
            ("GET", "/api/orgs/{organization_id}/members"),
            ("GET", "/api/orgs/{organization_id}/quota"),
            ("GET", "/api/clusters"),
            ("GET", "/api/clusters/{cluster_id}/status"),
            ("GET", "/api/clusters/{cluster_id}/deployments"),
            ("GET", "/cluster/nodes"),
            ("GET", "/cluster/nodes/{name}"),
            ("GET", "/cluster/state"),
            ("GET", "/api/orchestration/services"),
            ("GET", "/api/events"),
            ("WEBSOCKET", "/ws/deployments/{deployment_id}"),
        }
    ),
    Scope.DEPLOY: frozenset(
        {
            ("POST", "/api/deployment/deploy"),
            ("POST", "/api/deployment/plan"),
            ("POST", "/api/deployment/scale/{deployment_id}"),
            ("POST", "/api/deployment/update/{deployment_id}"),
            ("POST", "/api/deployment/rollback/{deployment_id}"),
            ("DELETE", "/api/deployment/{deployment_id}"),
            ("POST", "/api/deployments"),
            ("POST", "/api/deployments/{deployment_id}"),
        }
    ),
    Scope.ADMIN: frozenset(
        {
            ("PUT", "/api/orgs/{organization_id}/members/{user}"),
            ("DELETE", "/api/orgs/{organization_id}/members/{user}"),
            ("GET", "/api/orgs/{organization_id}/invite"),
            ("POST", "/api/orgs/{organization_id}/invite"),
            ("DELETE", "/api/orgs/{organization_id}/invite"),
            ("POST", "/api/clusters"),
            ("PUT", "/api/clusters/{cluster_id}/quota"),
        }
    ),
}
# A token can't sign out, own or join an organization, or make tokens.
FOR_PEOPLE = frozenset(
    {
        ("POST", "/api/auth/logout"),
        ("POST", "/api/users/logout"),
        ("POST", "/api/orgs/create"),
        ("POST", "/api/orgs/join"),
        ("PUT", "/api/orgs/{organization_id}/quota"),
        ("POST", "/api/orgs/{organization_id}/tokens"),
        ("GET", "/api/orgs/{organization_id}/tokens"),
        ("DELETE", "/api/orgs/{organization_id}/tokens/{token_id}"),
        ("POST", "/training/trigger"),
        ("POST", "/model/save"),
        ("POST", "/model/load"),
    }
)
_SCOPES = {route: scope for scope, routes in ROUTES.items() for route in routes}


def scope_of(method: str, path: str) -> Scope | None:
    """Return the scope that a route takes; None if it is for people, as the unknown are.

    `path` is the route's own, with names in braces.
    """
    return _SCOPES.get((method, path))
