"""Errors that reach a user, each with a reason that programs can rely on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

# Of a name that may be as long as a message: errors travel in headers, which are small.
_LONGEST_SOUGHT = 100


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """What is wrong with one field: its path, and what is allowed and was given."""

    field: str
    description: str


class FogError(Exception):
    """An error meant for the caller: `reason` is UPPER_SNAKE and stable, `message` for people."""

    default_reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_ms: int | None = None,
        sought: str = "",
    ) -> None:
        """Keep the parts; `retry_after_ms` hints when another try makes sense.

        `sought` is what isn't there, by kind and the name it was given, as `node/fog-9`.
        """
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.violations = violations
        self.retry_after_ms = retry_after_ms
        self.sought = sought


class InvalidArgumentError(FogError):
    """The request is wrong in itself; another try will not help."""

    default_reason = "INVALID_ARGUMENT"

    @classmethod
    def of_field(cls, field: str, description: str) -> Self:
        """Name the one field that is wrong."""
        return cls(f"{field}: {description}", violations=(FieldViolation(field, description),))


class OutOfRangeError(InvalidArgumentError):
    """The request is for what lies behind the end; it may come into being."""

    default_reason = "OUT_OF_RANGE"


class UnauthenticatedError(FogError):
    """No token, or not one that counts."""

    default_reason = "UNAUTHENTICATED"


class PermissionDeniedError(FogError):
    """The caller is known and may not do this."""

    default_reason = "PERMISSION_DENIED"


class NotFoundError(FogError):
    """There is no such thing, or the caller may not know of it."""

    default_reason = "NOT_FOUND"

    @classmethod
    def of(cls, kind: str, name: object) -> Self:
        """Say that no thing of a kind has a name or id, which stands beside the text if known."""
        return cls(
            f"{kind.capitalize()} not found",
            reason=f"{kind.upper()}_NOT_FOUND",
            sought=f"{kind}/{str(name)[:_LONGEST_SOUGHT]}" if name else "",
        )


class AlreadyExistsError(FogError):
    """The name or request id is taken by something else."""

    default_reason = "ALREADY_EXISTS"


class FailedPreconditionError(FogError):
    """The state of the thing does not allow this."""

    default_reason = "FAILED_PRECONDITION"


class AbortedError(FogError):
    """Somebody else changed the thing first: read it again."""

    default_reason = "STALE_ETAG"


class ResourceExhaustedError(FogError):
    """A limit is reached; try later."""

    default_reason = "RESOURCE_EXHAUSTED"


class UnavailableError(FogError):
    """Something this needs is down; nothing was acknowledged; try again."""

    default_reason = "UNAVAILABLE"


class DeadlineExceededError(FogError):
    """It took longer than the caller would wait."""

    default_reason = "DEADLINE_EXCEEDED"


class UnimplementedError(FogError):
    """Not built yet."""

    default_reason = "UNIMPLEMENTED"
