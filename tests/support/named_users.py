"""Users whose tokens are their names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fogbank.domain.errors import UnauthenticatedError
from services.gateway.app.identity import TOKEN_PREFIX, User
from services.gateway.app.principal import Principal, Role
from tests.support.fleet_log import an_id
from tests.support.tenancy import MemoryApiTokens

ALICE, BOB, CAROL, ADMIN = (Principal(an_id(name)) for name in ("alice", "bob", "carol", "admin"))
ADMIN = Principal(ADMIN.user_id, Role.ADMIN)


class NamedTokens:
    """Takes a user's name for their token; knows the tokens of service accounts too."""

    users: Mapping[str, Principal] = {
        "alice": ALICE,
        "bob": BOB,
        "carol": CAROL,
        "admin": ADMIN,
        **{name: Principal(an_id(name)) for name in ("vera", "otto", "rex", "nina", "mallory")},
    }

    def __init__(self, api_tokens: MemoryApiTokens | None = None) -> None:
        self._api_tokens = api_tokens or MemoryApiTokens()

    async def authenticate(self, token: str) -> Principal:
        if token.startswith(TOKEN_PREFIX):
            return await self._api_tokens.read(token)
        if token not in self.users:
            raise UnauthenticatedError("Not authenticated")
        return self.users[token]


class NamedUsers:
    """The accounts of those who have tokens."""

    async def add(self, user: User, name_key: str) -> bool:
        raise NotImplementedError

    async def by_name_key(self, name_key: str) -> User | None:
        raise NotImplementedError

    async def names(self, user_ids: Collection[str]) -> dict[str, str]:
        return {user_id: name for name in NamedTokens.users if (user_id := an_id(name)) in user_ids}

    async def set_password_hash(self, user_id: str, password_hash: str) -> None:
        raise NotImplementedError
