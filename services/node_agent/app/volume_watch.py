"""Measures the volumes of running replicas, and posts which hold more than was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from time import monotonic

import structlog

from services.node_agent.app.ports import ContainerRuntime, RuntimeFaultError
from services.node_agent.core.replica import ReplicaRecord
from services.node_agent.core.stimuli import VolumesMeasured
from services.node_agent.core.volumes import over_size

# After a look there is a pause of so many times as long, at least.
_REST = 20

_log = structlog.get_logger(__name__)


class VolumeWatch:
    """Looks at the volumes of one node, one deployment after the other."""

    def __init__(self, runtime: ContainerRuntime, post: Callable[[VolumesMeasured], None]) -> None:
        self._runtime = runtime
        self._post = post

    async def run(self, replicas: Callable[[], Collection[ReplicaRecord]], every_s: float) -> None:
        """Look every so many seconds, until cancelled; `replicas` are those of the node.

        What takes long is done less often.
        """
        pause_s = every_s
        while True:
            await asyncio.sleep(pause_s)
            began_s = monotonic()
            try:
                await self._look(replicas())
            except (RuntimeFaultError, OSError) as fault:
                _log.info("volumes not measured", why=str(fault))
            except Exception as error:  # noqa: BLE001 - the node's replicas run without it
                _log.error("volumes not measured", exc_info=error)
            pause_s = max(every_s, (monotonic() - began_s) * _REST)

    async def _look(self, replicas: Collection[ReplicaRecord]) -> None:
        """Measure each deployment's volumes once.

        Raises:
            RuntimeFaultError: the runtime gives no answer.
        """
        held: dict[str, dict[str, int]] = {}
        for record in [each for each in replicas if each.alive]:
            spec = record.spec
            if spec is None or not spec.container.volumes:
                continue
            known = held.setdefault(spec.deployment_id, {})
            for name in sorted({each.name for each in spec.container.volumes} - known.keys()):
                known[name] = await self._runtime.volume_bytes(spec.deployment_id, name)
            over = over_size(spec.container.volumes, known)
            self._post(VolumesMeasured(record.replica_id, record.restart_count, over))
