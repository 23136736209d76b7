"""How many errands of one node a user may have at once, so that others get some too."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fogbank.domain.errors import ResourceExhaustedError
from services.gateway.app.principal import Principal

# Half of what a node runs at once.
SHARE = 8


class ErrandShares:
    """Counts the errands of users by node. Each gateway counts for itself."""

    def __init__(self) -> None:
        self._held: Counter[tuple[str, str]] = Counter()

    @asynccontextmanager
    async def one(self, principal: Principal, node_id: str) -> AsyncIterator[None]:
        """Count an errand for as long as the context lasts.

        Raises:
            ResourceExhaustedError: the user has as many on this node as anybody may.
        """
        key = principal.user_id, node_id
        if self._held[key] >= SHARE:
            raise ResourceExhaustedError(
                f"Too many logs and commands at once: {SHARE} of one user are allowed on one node; "
                "end one first",
                reason="TOO_MANY_ERRANDS",
            )
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]
