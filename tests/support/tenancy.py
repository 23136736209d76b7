"""Invite codes and tokens in memory, with the rules that the database has."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from itertools import count

from fogbank.domain.errors import UnauthenticatedError
from fogbank.runtime.clock import SystemClock
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.v1 import token_service_pb2_grpc
from services.gateway.app.identity import Denials
from services.gateway.app.ports import Invite, Invited, InviteTerms, OrganizationKey
from services.gateway.app.principal import Principal, Service
from services.gateway.app.rights import Rights
from services.gateway.app.service_accounts import ApiToken, ServiceAccounts, digest_of
from services.gateway.core.service_accounts import shown_already
from services.gateway.grpc_api.token_service import TokenService

_CODES = count(1)


class MemoryInvites:
    """Invite codes in memory; gateways that share one agree."""

    def __init__(self) -> None:
        self._kept: dict[OrganizationKey, tuple[Invite, str]] = {}
        self._used_by: dict[str, set[str]] = {}

    def mark(self, code: str) -> str:
        return f"marked {len(code)} {hash(code)}"

    async def of(self, organizations: Collection[OrganizationKey]) -> dict[int, Invite]:
        return {key.id: self._invite(key) for key in organizations if key in self._kept}

    async def made(self, organization: OrganizationKey) -> None:
        self._kept.setdefault(organization, (Invite(f"code-{next(_CODES)}"), ""))

    async def renew(
        self, organization: OrganizationKey, terms: InviteTerms | None, request: str
    ) -> Invite:
        if self._kept.get(organization, (None, ""))[1] != request:
            code = "" if terms is None else f"code-{next(_CODES)}"
            self._kept[organization] = (Invite(code, terms or InviteTerms()), request)
        return self._invite(organization)

    async def find(self, code: str, now_us: int) -> Invited | None:
        for key, (invite, _request) in self._kept.items():
            ended = invite.terms.expires_at_us and invite.terms.expires_at_us <= now_us
            if code and invite.code == code and not ended:
                return Invited(key, invite.terms.role)
        return None

    async def redeem(self, code: str, user_id: str, now_us: int) -> Invited | None:
        invited = await self.find(code, now_us)
        if invited is None:
            return None
        used_by = self._used_by.setdefault(code, set())
        most = self._kept[invited.organization][0].terms.max_uses
        if most and len(used_by - {user_id}) >= most:
            return None
        used_by.add(user_id)
        return invited

    def _invite(self, key: OrganizationKey) -> Invite:
        invite, _request = self._kept[key]
        return Invite(invite.code, invite.terms, len(self._used_by.get(invite.code, ())))


class MemoryDenials:
    """Ids that count no more, in memory."""

    def __init__(self) -> None:
        self._denied: set[str] = set()

    async def deny(self, ids: Collection[str], until_us: int) -> None:
        self._denied |= set(ids)

    def denies(self, principal: Principal) -> bool:
        return not self._denied.isdisjoint({principal.token_id, principal.session_id})


class MemoryApiTokens:
    """Tokens of service accounts in memory."""

    def __init__(self) -> None:
        self._kept: dict[bytes, ApiToken] = {}
        self._requests: dict[str, str] = {}

    async def add(self, token: ApiToken, digest: bytes, request: str) -> ApiToken:
        if request in self._requests:
            raise shown_already(self._requests[request])
        for each in await self.of(token.organization):
            if each.account == token.account:
                token = replace(token, account_id=each.account_id)
        self._requests[request] = token.id
        self._kept[digest] = token
        return token

    async def of(self, organization: OrganizationKey) -> list[ApiToken]:
        found = [each for each in self._kept.values() if each.organization == organization]
        return sorted(found, key=lambda token: token.created_at_us, reverse=True)

    async def revoke(self, token_id: str, now_us: int) -> None:
        for digest, token in self._kept.items():
            if token.id == token_id:
                self._kept[digest] = replace(token, revoked_at_us=now_us)

    def expire(self, token: str) -> None:
        """Let a token have ended."""
        digest = digest_of(token)
        self._kept[digest] = replace(self._kept[digest], expires_at_us=1)

    def knows(self, token: str) -> bool:
        return digest_of(token) in self._kept

    async def read(self, token: str) -> Principal:
        found = self._kept.get(digest_of(token))
        now_us = SystemClock().now_us()
        if found is None or found.revoked_at_us or found.expires_at_us <= now_us:
            raise UnauthenticatedError("Not authenticated")
        service = Service(found.organization, found.scopes)
        return Principal(
            found.account_id, token_id=found.id, service=service, ends_at_us=found.expires_at_us
        )


def add_token_service(
    server: GrpcServer, api_tokens: MemoryApiTokens, denials: Denials, rights: Rights
) -> None:
    """Let a server have the service that makes and revokes these tokens."""
    accounts = ServiceAccounts(api_tokens, denials, rights, SystemClock())
    token_service_pb2_grpc.add_TokenServiceServicer_to_server(TokenService(accounts), server.grpc)
