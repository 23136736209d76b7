"""IdentityService: accounts, sessions, organizations and clusters."""

from __future__ import annotations

from typing import Any

import grpc.aio

from fogbank.codec.clusters import cluster_status_to_pb, cluster_to_pb
from fogbank.codec.tenancy import quota_from_pb
from fogbank.codec.views import moment_from_pb
from fogbank.domain.tenancy import MembershipRole
from fogbank.v1 import identity_service_pb2 as pb
from fogbank.v1 import identity_service_pb2_grpc
from services.gateway.app.clusters import Clusters
from services.gateway.app.identity import Identity, Session
from services.gateway.app.organizations import Organizations
from services.gateway.app.principal import current_principal
from services.gateway.grpc_api.authentication import address_of
from services.gateway.grpc_api.paging import page_offset, page_size, page_token
from services.gateway.grpc_api.tenancy import (
    CLUSTER_QUOTA,
    ORGANIZATION_QUOTA,
    invite_to_pb,
    member_to_pb,
    organization_to_pb,
    role_of,
)

Context = grpc.aio.ServicerContext[Any, Any]

_ORGANIZATIONS = b"organizations"
_CLUSTERS = b"clusters"


class IdentityService(identity_service_pb2_grpc.IdentityServiceServicer):
    """Messages to use cases and back."""

    def __init__(
        self, identity: Identity, organizations: Organizations, clusters: Clusters
    ) -> None:
        self._identity = identity
        self._organizations = organizations
        self._clusters = clusters

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        """Make an account."""
        address = address_of(context)
        self._identity.limits.anonymous(address)
        user = await self._identity.register(request.username, request.password, address)
        return pb.RegisterResponse(user_id=user.id, username=user.username)

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        """Trade a name and password for tokens."""
        address = address_of(context)
        self._identity.limits.anonymous(address)
        session = await self._identity.login(request.username, request.password, address)
        return pb.LoginResponse(tokens=_tokens(session))

    async def RefreshToken(
        self, request: pb.RefreshTokenRequest, context: Context
    ) -> pb.RefreshTokenResponse:
        """Trade a refresh token for new ones."""
        self._identity.limits.anonymous(address_of(context))
        return pb.RefreshTokenResponse(
            tokens=_tokens(await self._identity.refresh(request.refresh_token))
        )

    async def Logout(self, request: pb.LogoutRequest, context: Context) -> pb.LogoutResponse:
        """End the caller's session."""
        await self._identity.logout(current_principal())
        return pb.LogoutResponse()

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, context: Context
    ) -> pb.CreateOrganizationResponse:
        """Make an organization of the caller's."""
        made = await self._organizations.create(
            current_principal(), request.name, request.request_id
        )
        return pb.CreateOrganizationResponse(organization=organization_to_pb(made))

    async def JoinOrganization(
        self, request: pb.JoinOrganizationRequest, context: Context
    ) -> pb.JoinOrganizationResponse:
        """Join an organization."""
        joined = await self._organizations.join(
            current_principal(), request.invite_code, request.request_id
        )
        return pb.JoinOrganizationResponse(organization=organization_to_pb(joined))

    async def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, context: Context
    ) -> pb.ListOrganizationsResponse:
        """List all organizations."""
        limit = page_size(request.page_size)
        offset = page_offset(request.page_token, _ORGANIZATIONS)
        page = await self._organizations.list(current_principal(), limit, offset)
        after = offset + len(page.items)
        return pb.ListOrganizationsResponse(
            organizations=[organization_to_pb(view) for view in page.items],
            next_page_token=_next(after, page.total, _ORGANIZATIONS),
            total_size=page.total,
        )

    async def ListMyOrganizations(
        self, request: pb.ListMyOrganizationsRequest, context: Context
    ) -> pb.ListMyOrganizationsResponse:
        """List the caller's organizations."""
        views = await self._organizations.mine(current_principal())
        return pb.ListMyOrganizationsResponse(
            organizations=[organization_to_pb(view) for view in views]
        )

    async def ListMembers(
        self, request: pb.ListMembersRequest, context: Context
    ) -> pb.ListMembersResponse:
        """List an organization's members."""
        principal, number = current_principal(), request.organization_id
        members = await self._organizations.members(principal, number)
        return pb.ListMembersResponse(
            members=[member_to_pb(view) for view in members],
            everybody=await self._organizations.belongs_to_everybody(principal, number),
        )

    async def SetMemberRole(
        self, request: pb.SetMemberRoleRequest, context: Context
    ) -> pb.SetMemberRoleResponse:
        """Give a member another role."""
        member = await self._organizations.set_role(
            current_principal(),
            request.organization_id,
            request.user,
            role_of(request.role),
            request.request_id,
        )
        return pb.SetMemberRoleResponse(member=member_to_pb(member))

    async def RemoveMember(
        self, request: pb.RemoveMemberRequest, context: Context
    ) -> pb.RemoveMemberResponse:
        """Remove a member."""
        await self._organizations.remove_member(
            current_principal(), request.organization_id, request.user, request.request_id
        )
        return pb.RemoveMemberResponse()

    async def GetInviteCode(
        self, request: pb.GetInviteCodeRequest, context: Context
    ) -> pb.GetInviteCodeResponse:
        """Show the invite code."""
        invite = await self._organizations.invite(current_principal(), request.organization_id)
        return pb.GetInviteCodeResponse(invite=invite_to_pb(invite))

    async def RenewInviteCode(
        self, request: pb.RenewInviteCodeRequest, context: Context
    ) -> pb.RenewInviteCodeResponse:
        """Replace the invite code."""
        lifetime_s: float | None = None
        if request.HasField("expires_in"):
            lifetime_s = request.expires_in.seconds + request.expires_in.nanos / 1e9
        invite = await self._organizations.renew_invite(
            current_principal(),
            request.organization_id,
            lifetime_s=lifetime_s,
            max_uses=request.max_uses,
            role=role_of(request.role, MembershipRole.OPERATOR),
            request_id=request.request_id,
        )
        return pb.RenewInviteCodeResponse(invite=invite_to_pb(invite))

    async def RevokeInviteCode(
        self, request: pb.RevokeInviteCodeRequest, context: Context
    ) -> pb.RevokeInviteCodeResponse:
        """Revoke the invite code."""
        await self._organizations.revoke_invite(
            current_principal(), request.organization_id, request.request_id
        )
        return pb.RevokeInviteCodeResponse()

    async def SetOrganizationQuota(
        self, request: pb.SetOrganizationQuotaRequest, context: Context
    ) -> pb.SetOrganizationQuotaResponse:
        """Change the quota of an organization's clusters together."""
        changed = await self._organizations.set_quota(
            current_principal(),
            request.organization_id,
            quota_from_pb(request.quota),
            words=ORGANIZATION_QUOTA,
            request_id=request.request_id,
        )
        return pb.SetOrganizationQuotaResponse(organization=organization_to_pb(changed))

    async def CreateCluster(
        self, request: pb.CreateClusterRequest, context: Context
    ) -> pb.CreateClusterResponse:
        """Make a cluster."""
        made = await self._clusters.create(
            current_principal(),
            request.organization_id,
            request.name,
            quota_from_pb(request.total),
            words=CLUSTER_QUOTA,
            request_id=request.request_id,
        )
        return pb.CreateClusterResponse(cluster=cluster_to_pb(made))

    async def ListClusters(
        self, request: pb.ListClustersRequest, context: Context
    ) -> pb.ListClustersResponse:
        """List the clusters of the caller's organizations."""
        limit = page_size(request.page_size)
        offset = page_offset(request.page_token, _CLUSTERS)
        page = await self._clusters.list(current_principal(), limit, offset)
        after = offset + len(page.items)
        return pb.ListClustersResponse(
            clusters=[cluster_to_pb(cluster) for cluster in page.items],
            next_page_token=_next(after, page.total, _CLUSTERS),
            total_size=page.total,
        )

    async def GetClusterStatus(
        self, request: pb.GetClusterStatusRequest, context: Context
    ) -> pb.GetClusterStatusResponse:
        """Show how much of a cluster is used."""
        return cluster_status_to_pb(
            await self._clusters.status(
                current_principal(), request.cluster_id, moment_from_pb(request.as_of)
            )
        )

    async def SetClusterQuota(
        self, request: pb.SetClusterQuotaRequest, context: Context
    ) -> pb.SetClusterQuotaResponse:
        """Change a cluster's quota."""
        changed = await self._clusters.set_quota(
            current_principal(),
            request.cluster_id,
            quota_from_pb(request.total),
            words=CLUSTER_QUOTA,
            request_id=request.request_id,
        )
        return pb.SetClusterQuotaResponse(cluster=cluster_to_pb(changed))


def _next(after: int, total: int, query: bytes) -> str:
    return page_token(after, query) if after < total else ""


def _tokens(session: Session) -> pb.Tokens:
    tokens = pb.Tokens(access_token=session.access_token, refresh_token=session.refresh_token)
    tokens.expires_in.FromSeconds(session.expires_in_s)
    return tokens
