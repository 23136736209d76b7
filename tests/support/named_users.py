"""Users whose tokens are their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from fogbank.domain.errors import UnauthenticatedError
from fogbank.runtime.clock import SystemClock
from services.gateway.app.identity import Denials, Identity, User
from services.gateway.app.limits import Allowance, Limits
from services.gateway.app.principal import Principal, Role
from tests.support.fleet_log import an_id
from tests.support.tenancy import MemoryApiTokens, MemoryDenials

ALICE, BOB, CAROL, ADMIN = (Principal(an_id(name)) for name in ("alice", "bob", "carol", "admin"))
ADMIN = Principal(ADMIN.user_id, Role.ADMIN)


class NamedTokens:
    """Takes a user's name for their token."""

    users: Mapping[str, Principal] = {
        "alice": ALICE,
        "bob": BOB,
        "carol": CAROL,
        "admin": ADMIN,
        **{name: Principal(an_id(name)) for name in ("vera", "otto", "rex", "nina", "mallory")},
    }

    def read(self, token: str) -> Principal:
        if token not in self.users:
            raise UnauthenticatedError("Not authenticated")
        # Whoever has a name as token has it as the token's id.
        return replace(self.users[token], token_id=token)


PLENTY = Allowance(1_000_000, 1_000_000, 1_000_000)


def named_identity(
    limits: Limits | None = None,
    denials: Denials | None = None,
    api_tokens: MemoryApiTokens | None = None,
) -> Identity:
    """Return who lets in the users whose tokens are their names; nobody signs in there."""
    nobody: Any = None
    names: Any = NamedTokens()
    clock = SystemClock()
    return Identity(
        *(nobody, nobody, nobody, names, denials or MemoryDenials()),
        api_tokens=api_tokens or MemoryApiTokens(),
        clock=clock,
        refresh_lifetime_s=0,
        limits=limits or Limits(clock, PLENTY),
    )


class NamedUsers:
    """The accounts of those who have tokens."""

    async def add(self, user: User, name_key: str) -> bool:
        raise NotImplementedError

    async def by_name_key(self, name_key: str) -> User | None:
        user = NamedTokens.users.get(name_key)
        return User(user.user_id, name_key, "", user.role) if user is not None else None

    async def names(self, user_ids: Collection[str]) -> dict[str, str]:
        return {user_id: name for name in NamedTokens.users if (user_id := an_id(name)) in user_ids}

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        raise NotImplementedError
