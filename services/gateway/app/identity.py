"""Users and their sessions: register, sign in, refresh, and the administrator of a first start.

And who is let in by which token, how often, and for how long.

Ordinary data of the gateway's own database, not of the log: names and passwords never go there.
"""

from __future__ import annotations

import hashlib
import secrets
import unicodedata
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar
from uuid import uuid4

from fogbank.domain.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    FieldViolation,
    InvalidArgumentError,
    UnauthenticatedError,
)
from fogbank.runtime.clock import Clock
from services.gateway.app.limits import Allowance, Limits, host_of
from services.gateway.app.principal import Principal, Role
from services.gateway.app.streams import Streams
from services.gateway.core.service_accounts import Scope

# So that a leaked token is known for what it is, to people and to programs that look for such.
TOKEN_PREFIX = "fogtok_"  # noqa: S105 (public)
MIN_USERNAME, MAX_USERNAME = 3, 64
MIN_PASSWORD, MAX_PASSWORD = 6, 256
MAX_REFRESH_TOKEN = 256
# A database that fails over, or is started again, is back well within it.
DENIALS_MAX_AGE_S = 300
_SECOND_US = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class User:
    """An account; `id` is a UUID, `username` as first written."""

    id: str
    username: str
    password_hash: str
    role: Role


@dataclass(frozen=True, slots=True)
class Session:
    """Tokens for a signed-in user; the refresh token can be used once."""

    access_token: str
    refresh_token: str
    expires_in_s: int


@dataclass(frozen=True, slots=True)
class Reused:
    """A refresh token was handed in once more: either its owner or a thief holds a copy."""

    session_id: str


class Users(Protocol):
    """Where accounts are kept. Methods raise UnavailableError when that is out of reach."""

    async def add(self, user: User, name_key: str) -> bool:
        """Keep a new account; False if `name_key` is taken."""
        ...

    async def by_name_key(self, name_key: str) -> User | None: ...

    async def names(self, user_ids: Collection[str]) -> dict[str, str]:
        """Return the names of those accounts that there are, by id."""
        ...

    async def set_password_hash(self, user_id: str, password_hash: str) -> None: ...


class RefreshTokens(Protocol):
    """Where digests of refresh tokens are kept; never the tokens."""

    async def begin(self, user_id: str, token: bytes, now_us: int, expires_at_us: int) -> str:
        """Keep the first token of a new family, and forget the user's expired ones.

        Return the family's id (UUID), which names the session.
        """
        ...

    async def end(self, session_id: str) -> None:
        """Let no token of a family work any more."""
        ...

    async def rotate(
        self, token: bytes, successor: bytes, now_us: int, expires_at_us: int
    ) -> Principal | Reused | None:
        """Trade a token for its successor in one step; None if it is unknown or expired."""
        ...


class Denials(Protocol):
    """Tokens and sessions that count no more, though their signatures are good."""

    async def deny(self, ids: Collection[str], until_us: int) -> None:
        """Keep ids that no gateway lets in any more, at least until they have ended anyway."""
        ...

    def denies(self, principal: Principal) -> bool:
        """Tell whether a caller's token or session is denied, without asking anybody.

        Raises:
            UnavailableError: nobody could be asked for too long.
        """
        ...


class Passwords(Protocol):
    """Hashes passwords, slowly by design, away from the event loop.

    Those who ask take turns. Both raise ResourceExhaustedError when too many are waiting.
    """

    async def hash(self, password: str, asker: str) -> str: ...

    async def verify(
        self, password: str, password_hash: str | None, asker: str
    ) -> tuple[bool, str | None]:
        """Tell whether it matches, and give a new hash if the old one is out of date.

        None takes as long as a hash does and never matches.
        """
        ...


class AccessTokens(Protocol):
    """Makes and reads the tokens that calls carry."""

    @property
    def lifetime_s(self) -> int: ...

    @property
    def longest_us(self) -> int:
        """How long a token made now may be taken for good at most, in microseconds."""
        ...

    def issue(self, principal: Principal, now_us: int) -> str: ...

    def read(self, token: str) -> Principal:
        """Return whose token it is, or raise UnauthenticatedError."""
        ...


class TokenReader(Protocol):
    """Knows the tokens of service accounts."""

    def knows(self, token: str) -> bool:
        """Tell whether a token was good when it was last looked up here."""
        ...

    async def read(self, token: str) -> Principal:
        """Return whose token it is, or raise UnauthenticatedError.

        Raises:
            UnavailableError: nobody can tell now.
        """
        ...


class Identity:
    """The use cases, over the ports above."""

    def __init__(
        self,
        users: Users,
        refresh_tokens: RefreshTokens,
        passwords: Passwords,
        access_tokens: AccessTokens,
        denials: Denials,
        *,
        api_tokens: TokenReader | None = None,
        clock: Clock,
        refresh_lifetime_s: int,
        limits: Limits | None = None,
    ) -> None:
        self._users = users
        self._refresh_tokens = refresh_tokens
        self._passwords = passwords
        self._access_tokens = access_tokens
        self._denials = denials
        self._api_tokens = api_tokens
        self._clock = clock
        self.limits = limits or Limits(clock, Allowance())
        self._refresh_lifetime_us = refresh_lifetime_s * _SECOND_US
        self._streams = Streams()

    async def register(self, username: str, password: str, address: str = "") -> User:
        """Make an ordinary account; `address` is where it is asked from.

        Raises:
            InvalidArgumentError: the name or password is out of bounds.
            AlreadyExistsError: the name is taken, whatever its case.
            ResourceExhaustedError: too many passwords wait to be looked into.
        """
        user = await self._add(username, password, Role.USER, address)
        if user is None:
            raise AlreadyExistsError(f"Username {username!r} is taken", reason="USERNAME_TAKEN")
        return user

    async def login(self, username: str, password: str, address: str = "") -> Session:
        """Trade a name and password for a session; `address` is where it is asked from.

        An unknown name and a wrong password give the same answer in the same time, and are counted
        alike.

        Raises:
            UnauthenticatedError: they don't belong together.
            ResourceExhaustedError: too many such attempts failed lately, or are being looked into;
                or too many passwords of all, among which addresses take turns.
        """
        key = name_key(username[: MAX_USERNAME + 1])
        async with self.limits.sign_in(key, address):
            user = await self._verified(username, key, password, address)
        now_us = self._clock.now_us()
        refresh_token = secrets.token_urlsafe(32)
        session_id = await self._refresh_tokens.begin(
            user.id, _digest(refresh_token), now_us, now_us + self._refresh_lifetime_us
        )
        return self._session(Principal(user.id, user.role, session_id), refresh_token, now_us)

    async def refresh(self, refresh_token: str) -> Session:
        """Trade a refresh token for a new session; the old token is used up.

        Raises:
            UnauthenticatedError: it is unknown, expired or was used before; in the last case every
                token that descends from the same sign-in stops working.
        """
        now_us = self._clock.now_us()
        successor = secrets.token_urlsafe(32)
        outcome: Principal | Reused | None = None
        if 0 < len(refresh_token) <= MAX_REFRESH_TOKEN:
            outcome = await self._refresh_tokens.rotate(
                _digest(refresh_token),
                _digest(successor),
                now_us,
                now_us + self._refresh_lifetime_us,
            )
        if isinstance(outcome, Reused):
            await self._end([outcome.session_id], outcome.session_id)
            raise UnauthenticatedError("Not authenticated", reason="REFRESH_TOKEN_REUSED")
        if outcome is None:
            raise UnauthenticatedError("Not authenticated", reason="UNAUTHENTICATED")
        return self._session(outcome, successor, now_us)

    async def admit(
        self, token: str, address: str, takes: Scope | None, *, counted: bool = True
    ) -> Principal:
        """Return who makes a call from an address, unless it is too often.

        `takes` is the scope that a service account's token needs for it; None for people only.

        Raises:
            UnauthenticatedError, UnavailableError: as `authenticate`.
            PermissionDeniedError: the token is not for this.
            ResourceExhaustedError: too many calls, of the caller if it is `counted`, or of nobody
                knows whom from the address.
        """
        principal = await self.authenticate(token, address)
        principal.require_scope(takes)
        if counted:
            self.limits.request(principal)
        return principal

    async def authenticate(self, token: str, address: str = "") -> Principal:
        """Return whose token it is: a user's access token, or a service account's.

        Access tokens are read without asking anybody, the others are looked up now and then. What
        fails counts against the address it is shown from, and so does what is looked up for the
        first time: from its beginning, for it costs a look into the database.

        Raises:
            UnauthenticatedError: it is malformed, forged, expired, signed out, revoked or meant for
                others.
            UnavailableError: it is a service account's, and the database is out of reach; or it has
                been for so long that nobody knows who signed out.
            ResourceExhaustedError: too many from the address.
        """
        reader = self._api_tokens if token.startswith(TOKEN_PREFIX) else None
        unheard_of = reader is not None and not reader.knows(token)
        with self.limits.token_shown(address, costly=unheard_of):
            principal = await reader.read(token) if reader else self._access_tokens.read(token)
            self.check(principal)
        return principal

    def check(self, principal: Principal) -> None:
        """Raise as `authenticate` does if a caller who was let in would be so no more."""
        if self._denials.denies(principal) or self._clock.now_us() >= principal.ends_at_us:
            raise UnauthenticatedError("Not authenticated")

    async def stream(
        self, principal: Principal, items: AsyncGenerator[T, None]
    ) -> AsyncGenerator[T, None]:
        """Yield what a stream yields, counted, for as long as its caller is let in.

        Raises:
            UnauthenticatedError, UnavailableError: the caller is let in no more, since a second or
                so.
            ResourceExhaustedError: the caller has too many streams.
        """
        with self.limits.stream(principal):
            allowed = self._streams.while_allowed(partial(self.check, principal), items)
            async with aclosing(allowed):
                async for item in allowed:
                    yield item

    async def logout(self, principal: Principal) -> None:
        """End the session of a caller: its access tokens and its refresh token work no more.

        Other sessions of the same user go on.

        Raises:
            UnavailableError: the database is out of reach; the session goes on.
        """
        ids = [each for each in (principal.token_id, principal.session_id) if each]
        await self._end(ids, principal.session_id)

    async def _end(self, ids: Collection[str], session_id: str) -> None:
        # Denied first: a refresh that was quicker than the end made a token of the same session.
        await self._denials.deny(ids, self._clock.now_us() + self._access_tokens.longest_us)
        if session_id:
            await self._refresh_tokens.end(session_id)

    async def ensure_admin(self, username: str, password: str) -> bool:
        """Make the administrator's account unless there is one; tell whether it was made.

        The password of an existing account stays as it is.

        Raises:
            FailedPreconditionError: the name belongs to an ordinary user.
        """
        existing = await self._users.by_name_key(name_key(username))
        if existing is None and await self._add(username, password, Role.ADMIN, "") is not None:
            return True
        existing = existing or await self._users.by_name_key(name_key(username))
        if existing is not None and existing.role is not Role.ADMIN:
            raise FailedPreconditionError(
                f"The account {username!r} exists and is not an administrator's: "
                "set FOG_ADMIN_USER to another name"
            )
        return False

    async def _verified(self, username: str, key: str, password: str, address: str) -> User:
        user = None
        if could_be_named(username):
            user = await self._users.by_name_key(key)
        known_hash = user.password_hash if user else None
        given = password if len(password) <= MAX_PASSWORD else ""
        matches, newer_hash = await self._passwords.verify(given, known_hash, host_of(address))
        if user is None or not matches:
            raise UnauthenticatedError("Wrong username or password", reason="WRONG_CREDENTIALS")
        if newer_hash is not None:
            await self._users.set_password_hash(user.id, newer_hash)
        return user

    async def _add(self, username: str, password: str, role: Role, address: str) -> User | None:
        check_username(username)
        check_password(password)
        password_hash = await self._passwords.hash(password, host_of(address))
        user = User(str(uuid4()), username, password_hash, role)
        return user if await self._users.add(user, name_key(username)) else None

    def _session(self, principal: Principal, refresh_token: str, now_us: int) -> Session:
        return Session(
            self._access_tokens.issue(principal, now_us),
            refresh_token,
            self._access_tokens.lifetime_s,
        )


def name_key(username: str) -> str:
    """Return what makes a name unique: its compatibility form without case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", username).casefold())


def could_be_named(username: str) -> bool:
    """Tell whether it is worth to look for an account of this name."""
    return len(username) <= MAX_USERNAME and "\0" not in username


def check_username(username: str) -> None:
    """Raise InvalidArgumentError unless a new account may have this name."""
    given = f"got {_shown(username)}"
    if not MIN_USERNAME <= len(username) <= MAX_USERNAME:
        _refuse("username", f"must be {MIN_USERNAME} to {MAX_USERNAME} characters, {given}")
    if not username.isprintable() or username != username.strip() or name_key(username) == "":
        _refuse("username", f"must be printable and not begin or end with a space, {given}")


def check_password(password: str) -> None:
    """Raise InvalidArgumentError unless a new account may have this password."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        _refuse(
            "password",
            f"must be {MIN_PASSWORD} to {MAX_PASSWORD} characters, got {len(password)}",
        )


def _refuse(field: str, description: str) -> None:
    raise InvalidArgumentError(
        f"{field} {description}", violations=(FieldViolation(field, description),)
    )


def _shown(text: str) -> str:
    longest = 80
    if len(text) <= longest:
        return repr(text)
    return f"{text[:longest]!r}... ({len(text)} characters)"


def _digest(token: str) -> bytes:
    """Tokens are 256 random bits, so a plain digest is enough."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
