"""Access tokens as JWTs: one pinned algorithm, everything that is required also checked."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt

from fogbank.domain.errors import UnauthenticatedError
from fogbank.runtime.operator_error import OperatorError
from services.gateway.app.principal import Principal, Role

ISSUER = "fogbank"
AUDIENCE = "fogbank"
LEEWAY_S = 5
LONGEST_TOKEN = 4096
_CHECKED_TOKENS = 10_000

# Shared-secret algorithms only, each with the shortest secret (bytes) that it is safe with.
SHORTEST_SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}
_PLACEHOLDERS = frozenset({"your-secret-key", "secret", "changeme", "change-me"})
_ADVICE = "make one with: openssl rand -hex 32"
_REQUIRED = ("iss", "aud", "exp", "iat", "sub", "role")


class UnsafeSecretError(OperatorError):
    """The signing settings would let others make tokens; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A secret and the one algorithm it is used with; refuses unsafe ones when made."""

    secret: str
    algorithm: str = "HS256"

    def __post_init__(self) -> None:
        shortest = SHORTEST_SECRET.get(self.algorithm)
        if shortest is None:
            allowed = ", ".join(SHORTEST_SECRET)
            raise UnsafeSecretError(f"JWT_ALGORITHM must be one of {allowed}")
        if not self.secret:
            raise UnsafeSecretError(f"JWT_SECRET is missing: {_ADVICE}")
        if self.secret.strip().lower() in _PLACEHOLDERS:
            raise UnsafeSecretError(f"JWT_SECRET is a placeholder from a document: {_ADVICE}")
        length = len(self.secret.encode())
        if length < shortest:
            raise UnsafeSecretError(
                f"JWT_SECRET has {length} bytes, {self.algorithm} needs at least {shortest}: "
                f"{_ADVICE}{' and repeat' if shortest > SHORTEST_SECRET['HS256'] else ''}"
            )
        if len(set(self.secret)) == 1:
            raise UnsafeSecretError(f"JWT_SECRET repeats one character: {_ADVICE}")

    @property
    def id(self) -> str:
        """What tokens name the key by (`kid`); it tells nothing of the secret."""
        return hmac.digest(self.secret.encode(), b"fogbank kid", "sha256")[:8].hex()

    def __repr__(self) -> str:
        return f"SigningKey(algorithm={self.algorithm!r})"


def signing_keys(secrets: str, algorithm: str = "HS256") -> tuple[SigningKey, ...]:
    """Return the keys of a setting: one a line, of which the first signs and all are read with.

    Raises:
        UnsafeSecretError: one of them could be guessed, or stands there twice.
    """
    lines = [line.strip() for line in secrets.splitlines() if line.strip()]
    if len(set(lines)) < len(lines):
        raise UnsafeSecretError("JWT_SECRET has the same line twice: each key stands there once")
    return tuple(SigningKey(line, algorithm) for line in lines or [""])


class JwtAccessTokens:
    """Signs access tokens with the first of its keys, and reads those of all of them."""

    def __init__(self, keys: SigningKey | Sequence[SigningKey], lifetime_s: int) -> None:
        self._keys = (keys,) if isinstance(keys, SigningKey) else tuple(keys)
        self._by_id = {key.id: key for key in self._keys}
        self._lifetime_s = lifetime_s
        # Tokens whose signature was checked, and until when they count (seconds since 1970).
        self._checked: dict[str, tuple[Principal, float]] = {}

    @property
    def lifetime_s(self) -> int:
        """How long a token counts, in seconds."""
        return self._lifetime_s

    @property
    def longest_us(self) -> int:
        """How long a token made now may count at most, in microseconds."""
        return (self._lifetime_s + 2 * LEEWAY_S) * 1_000_000

    def issue(self, principal: Principal, now_us: int) -> str:
        """Return a token for a user, of their session if they have one."""
        now_s = now_us // 1_000_000
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": principal.user_id,
            "role": principal.role.value,
            "iat": now_s,
            "exp": now_s + self._lifetime_s,
            "jti": str(uuid4()),
        }
        if principal.session_id:
            claims["sid"] = principal.session_id
        signs = self._keys[0]
        return jwt.encode(claims, signs.secret, signs.algorithm, headers={"kid": signs.id})

    def read(self, token: str) -> Principal:
        """Return whose token it is, or raise UnauthenticatedError, which never says more."""
        checked = self._checked.get(token)
        if checked is not None and time.time() < checked[1]:
            return checked[0]
        self._checked.pop(token, None)
        if not token or len(token) > LONGEST_TOKEN:
            raise UnauthenticatedError("Not authenticated")
        try:
            claims = self._claims(token)
            ends_s = float(claims["exp"]) + LEEWAY_S
            principal = Principal(
                str(UUID(claims["sub"])),
                Role(claims["role"]),
                str(claims.get("sid", "")),
                str(claims.get("jti") or hashlib.sha256(token.encode()).hexdigest()),
                ends_at_us=round(ends_s * 1_000_000),
            )
        except (jwt.PyJWTError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise UnauthenticatedError("Not authenticated") from error
        if len(self._checked) >= _CHECKED_TOKENS:
            self._checked.clear()
        self._checked[token] = (principal, ends_s)
        return principal

    def _claims(self, token: str) -> dict[str, Any]:
        """Return what a token says, if the key that it names signed it."""
        named = jwt.get_unverified_header(token).get("kid")
        if named is not None:
            return _decoded(token, self._by_id[str(named)])
        # As gateways made them that didn't name their keys yet.
        for key in self._keys[:-1]:
            with suppress(jwt.InvalidSignatureError):
                return _decoded(token, key)
        return _decoded(token, self._keys[-1])


def _decoded(token: str, key: SigningKey) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(
        token,
        key.secret,
        algorithms=[key.algorithm],
        audience=AUDIENCE,
        issuer=ISSUER,
        leeway=timedelta(seconds=LEEWAY_S),
        options={"require": list(_REQUIRED)},
    )
    return claims
