"""Invite codes in memory, with the rules that the database has."""

from __future__ import annotations

from collections.abc import Collection
from itertools import count

from services.gateway.app.ports import Invite, Invited, InviteTerms, OrganizationKey

_CODES = count(1)


class MemoryInvites:
    """Invite codes in memory; gateways that share one agree."""

    def __init__(self) -> None:
        self._kept: dict[OrganizationKey, tuple[Invite, str]] = {}
        self._used_by: dict[str, set[str]] = {}

    def mark(self, code: str) -> str:
        return f"marked {len(code)} {hash(code)}"

    async def of(self, organizations: Collection[OrganizationKey]) -> dict[int, Invite]:
        for key in organizations:
            self._kept.setdefault(key, (Invite(f"code-{next(_CODES)}"), ""))
        return {key.id: self._invite(key) for key in organizations}

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
