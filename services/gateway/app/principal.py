"""Who is calling, as far as a token says."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum

from fogbank.domain.errors import PermissionDeniedError, UnauthenticatedError


class Role(StrEnum):
    """What a caller may do: users their own things, administrators all of them."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user; `user_id` is a UUID.

    `token_id` names the token that says so, `session_id` the sign-in that it descends from; empty
    where there is none.
    """

    user_id: str
    role: Role = Role.USER
    session_id: str = field(default="", compare=False)
    token_id: str = field(default="", compare=False)

    @property
    def is_admin(self) -> bool:
        """Tell whether everybody's things are the caller's to see and touch."""
        return self.role is Role.ADMIN

    def require_admin(self) -> None:
        """Raise PermissionDeniedError unless the caller is an administrator."""
        if not self.is_admin:
            raise PermissionDeniedError("Administrators only", reason="ADMIN_ONLY")


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


def set_current_principal(principal: Principal | None) -> None:
    """Remember who makes the call, for the rest of this task."""
    _current.set(principal)
