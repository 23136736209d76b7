"""Service accounts: what their tokens may be allowed, for how long, and what that comes to."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from fogbank.domain.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from fogbank.domain.tenancy import MembershipRole
from services.gateway.core.bounds import shown_number

MAX_LIFETIME_S = 366 * 24 * 3600
DEFAULT_LIFETIME_S = 90 * 24 * 3600
# For how long one is still listed that has ended or was revoked.
ENDED_SHOWN_S = 90 * 24 * 3600
# How many tokens of an organization may work at once.
MAX_TOKENS = 1_000


class Scope(StrEnum):
    """What a token is for. Each includes `read`; `admin` includes `deploy` too.

    `nodes` and `audit` reach beyond the organization: only administrators of the fleet give them.
    """

    READ = "read"
    DEPLOY = "deploy"
    NODES = "nodes"
    AUDIT = "audit"
    ADMIN = "admin"


OF_THE_FLEET = frozenset({Scope.NODES, Scope.AUDIT})


def includes(scopes: Collection[Scope], wanted: Scope) -> bool:
    """Tell whether scopes allow what takes `wanted`."""
    if wanted is Scope.READ:
        return bool(scopes)
    return wanted in scopes or (wanted is Scope.DEPLOY and Scope.ADMIN in scopes)


def role_by(scopes: Collection[Scope]) -> MembershipRole:
    """Return what a token may do in the organization of its service account."""
    if Scope.ADMIN in scopes:
        return MembershipRole.OWNER
    return MembershipRole.OPERATOR if Scope.DEPLOY in scopes else MembershipRole.VIEWER


def check_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes of these names; InvalidArgumentError unless all are some, at least one."""
    given = list(words)
    allowed = [scope.value for scope in Scope]
    unknown = [word for word in given if word not in allowed]
    if unknown or not given:
        got = repr(unknown[0][:80]) if unknown else "none"
        raise InvalidArgumentError.of_field("scopes", f"must be some of {allowed}, got {got}")
    return frozenset(map(Scope, given))


def check_lifetime(lifetime_s: float | None) -> float:
    """Return how long a token works, in seconds; InvalidArgumentError unless it may."""
    if lifetime_s is None:
        return DEFAULT_LIFETIME_S
    if not 1 <= lifetime_s <= MAX_LIFETIME_S:
        raise InvalidArgumentError.of_field(
            "expires_in",
            f"must be between 1 and {MAX_LIFETIME_S} s, got {shown_number(lifetime_s)} s",
        )
    return lifetime_s


def token_not_found() -> NotFoundError:
    """Return the error for a token that the organization doesn't have."""
    return NotFoundError("The organization has no such token", reason="TOKEN_NOT_FOUND")


def shown_already(token_id: str) -> AlreadyExistsError:
    """Return the error for the repeat of a request whose token can't be shown again."""
    return AlreadyExistsError(
        f"This request made token {token_id} already, which is shown only once: if you don't have "
        "it, revoke it and make another",
        reason="TOKEN_SHOWN",
    )
