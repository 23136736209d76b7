"""A gateway that is alone in its fleet, for those who run one without a broker."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fogbank.domain.errands import Errand
from fogbank.domain.errors import NotFoundError, UnavailableError
from services.gateway.app.deliveries import Delivery, Taker


class NoPeers:
    """Behaves as `app.deliveries.Peers` says where there is no other gateway."""

    @asynccontextmanager
    async def reachable(
        self, _node_id: str, _send: Callable[[Errand], object]
    ) -> AsyncIterator[None]:
        yield

    @asynccontextmanager
    async def awaiting(self, _errand_id: str, delivery: Delivery) -> AsyncIterator[None]:
        self._last = delivery
        yield

    async def send(self, _errand: Errand) -> None:
        self._last.refuse(UnavailableError("no other gateway", reason="NODE_NOT_CONNECTED"))

    def offered(self, _errand_id: str) -> AbstractAsyncContextManager[Taker]:
        raise NotFoundError("nobody waits for that", reason="NO_SUCH_ERRAND")
