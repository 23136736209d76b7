"""Errands: what users want of containers at once. Each is run in a task of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import structlog

from fogbank.domain.errands import Brought, Errand, ExecErrand, LogsErrand
from services.node_agent.app.ports import (
    ContainerRuntime,
    ErrandRefusedError,
    GatewayError,
    Gateways,
    RuntimeFaultError,
)

_log = structlog.get_logger(__name__)

# So many at once for a node, and of one deployment; users who come then are told so.
_AT_ONCE = 16
_SHARE = 8
_DISPLACED = "followed no longer: the node needs the place for another deployment; try again later"


@dataclass(slots=True, eq=False)
class _Begun:
    """An errand that has one of the node's places, unless it is `displaced`.

    `waiting` is there while nothing has been found that could be brought.
    """

    owner: str
    follows: bool
    task: asyncio.Task[Any] | None
    displaced: bool = False
    waiting: asyncio.Timeout | None = None

    async def next_of(self, pieces: AsyncGenerator[Brought]) -> Brought | None:
        """Return the next piece; None at the end, or once the errand is displaced."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(None) as self.waiting:
                    return await anext(pieces, None)
        finally:
            self.waiting = None
        return None

    def displace(self) -> None:
        """End it, with a word to its user; one whose user doesn't read is cut off without."""
        self.displaced = True
        if self.waiting is not None:
            self.waiting.reschedule(asyncio.get_running_loop().time())
        elif self.task is not None:
            self.task.cancel()


class Errands:
    """Runs the errands of one node and brings what they asked for to the gateway that asked."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        gateways: Gateways,
        deployment_of: Callable[[str], str | None],
    ) -> None:
        """Share the errands among deployments: `deployment_of` knows those of replicas here.

        When the node has no place left, a follower of the deployment that has most makes room for
        a deployment that has fewer: what follows a quiet log would keep its place without end.
        """
        self._runtime = runtime
        self._gateways = gateways
        self._deployment_of = deployment_of
        # The newest comes last.
        self._begun: list[_Begun] = []
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, errand: Errand, gateway: int) -> None:
        """Run an errand of the gateway at the address of that number."""
        task = asyncio.create_task(self._run(errand, gateway), name=f"errand:{errand.errand_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End all errands."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, errand: Errand, gateway: int) -> None:
        task = asyncio.current_task()
        # Behind one address there may be several gateways, and this may be another one.
        order = [gateway, *(each for each in range(self._gateways.count) if each != gateway)]
        for number in order:
            try:
                async with aclosing(self._brought(errand, task)) as brought:
                    await self._gateways.serve(number, errand.errand_id, brought)
            except ErrandRefusedError:
                continue
            except GatewayError as error:
                _log.debug("errand ended", replica=errand.replica_id, why=str(error))
            return

    async def _brought(
        self, errand: Errand, task: asyncio.Task[Any] | None
    ) -> AsyncGenerator[Brought]:
        # Of a replica that is gone only logs are left: it is a deployment of its own then.
        owner = self._deployment_of(errand.replica_id) or errand.replica_id
        if refusal := self._refusal(owner):
            yield Brought(failure=refusal)
            return
        follows = isinstance(errand.kind, LogsErrand) and errand.kind.follow
        begun = _Begun(owner, follows, task)
        self._begun.append(begun)
        try:
            async with aclosing(self._run_here(errand)) as pieces:
                while not begun.displaced and (piece := await begun.next_of(pieces)):
                    yield piece
        finally:
            if not begun.displaced:
                self._begun.remove(begun)
        if begun.displaced:
            yield Brought(failure=_DISPLACED)

    def _refusal(self, owner: str) -> str:
        """Say why an errand gets no place; nothing if there is one, or one was made."""
        have = Counter(begun.owner for begun in self._begun)
        if have[owner] >= _SHARE:
            return f"the node runs {_SHARE} errands of this deployment already; try again later"
        if len(self._begun) < _AT_ONCE:
            return ""
        followers = [
            each for each in self._begun if each.follows and have[each.owner] > have[owner] + 1
        ]
        if not followers:
            return f"the node runs {_AT_ONCE} errands already; try again later"
        # Of the deployment that has most the newest, of those that can be told.
        most = max(have[each.owner] for each in followers)
        first = [each for each in reversed(followers) if have[each.owner] == most]
        displaced = next((each for each in first if each.waiting is not None), first[0])
        self._begun.remove(displaced)
        displaced.displace()
        return ""

    async def _run_here(self, errand: Errand) -> AsyncGenerator[Brought]:
        try:
            match errand.kind:
                case LogsErrand(tail, follow, previous):
                    async for text in self._runtime.logs(
                        errand.replica_id, tail, follow=follow, previous=previous
                    ):
                        yield Brought(text.encode())
                case ExecErrand(command):
                    async for piece in self._runtime.execute(errand.replica_id, command):
                        yield piece
        except RuntimeFaultError as fault:
            yield Brought(failure=str(fault))
        except Exception as error:  # noqa: BLE001 - it is told to who asked
            _log.error("runtime adapter broke", replica=errand.replica_id, exc_info=error)
            yield Brought(failure=f"the agent's runtime adapter broke: {error!r}")
