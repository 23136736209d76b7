"""Errands: what users want of containers at once. Each is run in a task of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

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


class Errands:
    """Runs the errands of one node and brings what they asked for to the gateway that asked."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        gateways: Gateways,
        deployment_of: Callable[[str], str | None],
    ) -> None:
        """Share the errands among deployments: `deployment_of` knows those of replicas here."""
        self._runtime = runtime
        self._gateways = gateways
        self._deployment_of = deployment_of
        self._begun: Counter[str] = Counter()
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
        # Behind one address there may be several gateways, and this may be another one.
        order = [gateway, *(each for each in range(self._gateways.count) if each != gateway)]
        for number in order:
            try:
                async with aclosing(self._brought(errand)) as brought:
                    await self._gateways.serve(number, errand.errand_id, brought)
            except ErrandRefusedError:
                continue
            except GatewayError as error:
                _log.debug("errand ended", replica=errand.replica_id, why=str(error))
            return

    async def _brought(self, errand: Errand) -> AsyncGenerator[Brought]:
        # Of a replica that is gone only logs are left: it is a deployment of its own then.
        owner = self._deployment_of(errand.replica_id) or errand.replica_id
        if refusal := self._refusal(owner):
            yield Brought(failure=refusal)
            return
        self._begun[owner] += 1
        try:
            async with aclosing(self._run_here(errand)) as brought:
                async for piece in brought:
                    yield piece
        finally:
            self._begun[owner] -= 1
            if not self._begun[owner]:
                del self._begun[owner]

    def _refusal(self, owner: str) -> str:
        if self._begun.total() >= _AT_ONCE:
            return f"the node runs {_AT_ONCE} errands already; try again later"
        if self._begun[owner] >= _SHARE:
            return f"the node runs {_SHARE} errands of this deployment already; try again later"
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
