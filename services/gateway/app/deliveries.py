"""What agents bring for errands, on its way to the users who wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from fogbank.domain.errands import Brought, Errand
from fogbank.domain.errors import FailedPreconditionError, FogError, UnavailableError

# So many pieces wait for a slow user; then the agent waits, and reads no further.
PIECES = 8
_RETRY_HINT_MS = 1_000


def cut_off() -> UnavailableError:
    """Return what ends a delivery whose rest will not come."""
    return UnavailableError(
        "its node, or the gateway that the node brings it to, was cut off; what came is not all",
        reason="ERRAND_CUT_OFF",
        retry_after_ms=_RETRY_HINT_MS,
    )


class Taker(Protocol):
    """Takes what an agent brings for one errand, here or for another gateway."""

    @property
    def node_id(self) -> str:
        """The node that was sent."""

    async def put(self, piece: Brought | FogError | None) -> bool:
        """Hand on a piece; last None, or an error. Tell whether somebody wants more."""

    async def unwanted(self) -> None:
        """Wait until nobody wants more."""


class Delivery:
    """The `Taker` of an errand whose user waits at this gateway."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._pieces: asyncio.Queue[Brought | FogError | None] = asyncio.Queue(PIECES)
        self._begun = asyncio.Event()
        self._refusal: FogError | None = None
        self._unwanted = asyncio.Event()

    @property
    def node_id(self) -> str:
        return self._node_id

    def begin(self) -> bool:
        """Note that the agent came; False if it had come already, or can't any more."""
        if self._begun.is_set() or self._unwanted.is_set():
            return False
        self._begun.set()
        return True

    def refuse(self, error: FogError) -> None:
        """Note that no agent will come."""
        if not self._begun.is_set():
            self._refusal = error
            self._begun.set()

    async def begun(self) -> None:
        """Wait until the agent came; raises why it will not."""
        await self._begun.wait()
        if self._refusal is not None:
            raise self._refusal

    def end(self) -> None:
        """Note that nobody wants more."""
        self._unwanted.set()

    async def unwanted(self) -> None:
        await self._unwanted.wait()

    async def put(self, piece: Brought | FogError | None) -> bool:
        putting = asyncio.ensure_future(self._pieces.put(piece))
        unwanted = asyncio.ensure_future(self._unwanted.wait())
        try:
            await asyncio.wait({putting, unwanted}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
            unwanted.cancel()
        return not self._unwanted.is_set()

    async def pieces(self) -> AsyncGenerator[Brought]:
        """Yield all pieces.

        Raises:
            FailedPreconditionError: the agent says that it can't be done.
            FogError: why the rest does not come.
        """
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, FogError):
                raise piece
            if piece.failure:
                raise FailedPreconditionError(piece.failure, reason="ERRAND_FAILED")
            yield piece


class Peers(Protocol):
    """The other gateways of the fleet: one of them may have a node's stream, or meet its agent."""

    def reachable(
        self, node_id: str, send: Callable[[Errand], object]
    ) -> AbstractAsyncContextManager[None]:
        """Let others send a node's agent, whose stream is here, on errands."""

    def awaiting(self, errand_id: str, delivery: Delivery) -> AbstractAsyncContextManager[None]:
        """Let others bring what a user here waits for."""

    async def send(self, errand: Errand) -> None:
        """Have an agent sent by the gateway that has its stream, on an errand that is awaited.

        The delivery that awaits it is refused if there is no such gateway, or it can't be asked.
        """

    def offered(self, errand_id: str) -> AbstractAsyncContextManager[Taker]:
        """Find the gateway at which a user waits for an errand, and take for it.

        Raises:
            NotFoundError: there is none.
        """
