"""Who is calling, as far as a token says."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import StrEnum

from fogbank.domain.envelope import SERVICE_ACCOUNT, USER, EventEnvelope
from fogbank.domain.errors import PermissionDeniedError, UnauthenticatedError
from services.gateway.app.ports import OrganizationKey
from services.gateway.core.service_accounts import Scope, includes

FOR_EVER_US = 2**63 - 1


class Role(StrEnum):
    """What a caller may do: users their own things, administrators all of them."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Service:
    """That a caller is a service account: of which organization, and what its token is for."""

    organization: OrganizationKey
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user, or a service account; `user_id` is its UUID.

    `token_id` names the token that says so, `session_id` the sign-in that it descends from; empty
    where there is none. The token counts until `ends_at_us`, in microseconds since 1970.
    """

    user_id: str
    role: Role = Role.USER
    session_id: str = field(default="", compare=False)
    token_id: str = field(default="", compare=False)
    service: Service | None = None
    ends_at_us: int = field(default=FOR_EVER_US, compare=False)

    @property
    def actor(self) -> str:
        """Who acts, as the log names it."""
        return f"{USER if self.service is None else SERVICE_ACCOUNT}/{self.user_id}"

    def signed(self, envelope: EventEnvelope) -> EventEnvelope:
        """Return an event that this caller asked for, with who it was."""
        return replace(envelope, actor=self.actor)

    @property
    def is_admin(self) -> bool:
        """Tell whether everybody's things are the caller's to see and touch."""
        return self.role is Role.ADMIN

    @property
    def sees_all(self) -> bool:
        """Tell whether everybody's things are the caller's to see."""
        return self.is_admin or self._may(Scope.AUDIT)

    def require_admin(self, or_scope: Scope | None = None) -> None:
        """Raise PermissionDeniedError unless the caller is an administrator.

        A token for `or_scope` does as well: an administrator gave it.
        """
        if not self.is_admin and (or_scope is None or not self._may(or_scope)):
            raise PermissionDeniedError("Administrators only", reason="ADMIN_ONLY")

    def require_scope(self, scope: Scope | None) -> None:
        """Raise PermissionDeniedError for a token that isn't for `scope`; None is for people only.

        What people may do doesn't depend on scopes.
        """
        if self.service is None or (scope is not None and includes(self.service.scopes, scope)):
            return
        own = ", ".join(sorted(self.service.scopes))
        takes = f"takes {scope}" if scope is not None else "takes a person"
        raise PermissionDeniedError(
            f"This {takes}; the token is for: {own}", reason="SCOPE_LACKING"
        )

    def _may(self, scope: Scope) -> bool:
        return self.service is not None and includes(self.service.scopes, scope)


_current: ContextVar[Principal | None] = ContextVar("fogbank_principal", default=None)


def current_principal() -> Principal:
    """Return who makes the call being handled.

    Raises:
        UnauthenticatedError: nobody is signed in.
    """
    principal = _current.get()
    if principal is None:
        raise UnauthenticatedError("Not authenticated")
    return principal


def asker_id() -> str:
    """Return the id of who makes the call being handled; empty for nobody."""
    principal = _current.get()
    return principal.user_id if principal is not None else ""


def set_current_principal(principal: Principal | None) -> None:
    """Remember who makes the call, for the rest of this task."""
    _current.set(principal)
