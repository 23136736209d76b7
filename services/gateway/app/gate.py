"""Whether this gateway serves, and if not, why not."""

from __future__ import annotations

from fogbank.domain.errors import UnavailableError

_RETRY_HINT_MS = 1_000


class Gate:
    """Closed from the start until `open`; while it is closed every face refuses."""

    def __init__(self) -> None:
        self._closed_for: str | None = "it is starting"

    @classmethod
    def opened(cls) -> Gate:
        """Return one that is open already."""
        gate = cls()
        gate.open()
        return gate

    @property
    def closed_for(self) -> str | None:
        """Why it is closed; None when it is open."""
        return self._closed_for

    def close(self, why: str) -> None:
        """Refuse from now on."""
        self._closed_for = why

    def open(self) -> None:
        """Let everybody in."""
        self._closed_for = None

    def refusal(self) -> UnavailableError | None:
        """Return what callers are told while it is closed. The reason is for operators."""
        if self._closed_for is None:
            return None
        return UnavailableError(
            "this gateway does not serve yet; try again later",
            reason="NOT_READY",
            retry_after_ms=_RETRY_HINT_MS,
        )
