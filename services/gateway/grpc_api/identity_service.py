"""IdentityService: accounts and sessions. Organizations and clusters are not served yet."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc.aio

from fogbank.domain.errors import UnimplementedError
from fogbank.v1 import identity_service_pb2 as pb
from fogbank.v1 import identity_service_pb2_grpc
from services.gateway.app.identity import Identity, Session

Context = grpc.aio.ServicerContext[Any, Any]


class IdentityService(identity_service_pb2_grpc.IdentityServiceServicer):
    """Messages to use cases and back."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def Register(self, request: pb.RegisterRequest, context: Context) -> pb.RegisterResponse:
        """Make an account."""
        user = await self._identity.register(request.username, request.password)
        return pb.RegisterResponse(user_id=user.id, username=user.username)

    async def Login(self, request: pb.LoginRequest, context: Context) -> pb.LoginResponse:
        """Trade a name and password for tokens."""
        session = await self._identity.login(request.username, request.password)
        return pb.LoginResponse(tokens=_tokens(session))

    async def RefreshToken(
        self, request: pb.RefreshTokenRequest, context: Context
    ) -> pb.RefreshTokenResponse:
        """Trade a refresh token for new ones."""
        return pb.RefreshTokenResponse(
            tokens=_tokens(await self._identity.refresh(request.refresh_token))
        )

    async def CreateOrganization(
        self, request: pb.CreateOrganizationRequest, context: Context
    ) -> pb.CreateOrganizationResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Organizations")

    async def JoinOrganization(
        self, request: pb.JoinOrganizationRequest, context: Context
    ) -> pb.JoinOrganizationResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Organizations")

    async def ListOrganizations(
        self, request: pb.ListOrganizationsRequest, context: Context
    ) -> pb.ListOrganizationsResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Organizations")

    async def ListMyOrganizations(
        self, request: pb.ListMyOrganizationsRequest, context: Context
    ) -> pb.ListMyOrganizationsResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Organizations")

    async def CreateCluster(
        self, request: pb.CreateClusterRequest, context: Context
    ) -> pb.CreateClusterResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Clusters")

    async def ListClusters(
        self, request: pb.ListClustersRequest, context: Context
    ) -> pb.ListClustersResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Clusters")

    async def GetClusterStatus(
        self, request: pb.GetClusterStatusRequest, context: Context
    ) -> pb.GetClusterStatusResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Clusters")

    async def SetClusterQuota(
        self, request: pb.SetClusterQuotaRequest, context: Context
    ) -> pb.SetClusterQuotaResponse:
        """Answer UNIMPLEMENTED."""
        _not_yet("Clusters")


def _tokens(session: Session) -> pb.Tokens:
    tokens = pb.Tokens(access_token=session.access_token, refresh_token=session.refresh_token)
    tokens.expires_in.FromSeconds(session.expires_in_s)
    return tokens


def _not_yet(what: str) -> NoReturn:
    raise UnimplementedError(f"{what} are not served yet; everything runs in cluster 1")
