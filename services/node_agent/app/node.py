"""One node's agent: feeds the core with what happens and does what it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import structlog

from fogbank.domain.deployment import STOP_GRACE_MS
from fogbank.runtime.crash_points import crash_point
from services.node_agent.app.errands import Errands
from services.node_agent.app.figures import REPLICA_CHANGES, REPORTS, SAVES
from services.node_agent.app.ports import (
    BootClock,
    Clock,
    ContainerRuntime,
    Gateways,
    Host,
    ImageMissingError,
    NodeDisk,
    RuntimeFaultError,
)
from services.node_agent.app.preparing import ProgressReports
from services.node_agent.app.prober import Prober
from services.node_agent.app.session import Backoff, Session
from services.node_agent.app.volume_watch import VolumeWatch
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.agent import AgentCore
from services.node_agent.core.kept import Entry, ObservationKept
from services.node_agent.core.replica import FoundContainer, ReplicaSpec
from services.node_agent.core.restarts import AgentPolicy

_log = structlog.get_logger(__name__)

# A heartbeat comes this share of its period early or late, so that nodes don't beat in step.
_HEARTBEAT_JITTER = 0.1
_US_PER_S = 1_000_000
# A host that slept finds out so many seconds after it woke, at most.
_LOOK_AT_BOOT_CLOCK_S = 1.0


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How one agent behaves. What isn't urgent is on disk after at most `flush_s` seconds.

    How far a fetch is, is told at most every `progress_s` seconds.
    """

    policy: AgentPolicy = field(default_factory=AgentPolicy)
    backoff: Backoff = field(default_factory=Backoff)
    stop_grace_ms: int = 10_000
    flush_s: float = 2.0
    fingerprint_period_s: float = 60.0
    runtime_retry_s: float = 1.0
    removal_retry_s: float = 60.0
    progress_s: float = 10.0
    collect_period_s: float = 300.0
    volume_period_s: float = 60.0


class NodeAgent:
    """The shell around the core: an inbox, one turn at a time, effects in order.

    While a turn's saves are on their way to the disk the inbox fills up, so under load one sync
    covers many stimuli and one report many observations.
    """

    def __init__(
        self,
        name: str,
        *,
        disk: NodeDisk,
        runtime: ContainerRuntime,
        host: Host,
        gateways: Gateways,
        clock: Clock,
        boot_clock: BootClock,
        random: Random,
        settings: NodeSettings,
        boot_id: str = "",
    ) -> None:
        """Know the parts; `boot_id` is that of `stimuli.Booted`."""
        self._name = name
        self._disk = disk
        self._runtime = runtime
        self._host = host
        self._gateways = gateways
        self._clock = clock
        self._boot_clock = boot_clock
        self._boot_id = boot_id
        self._random = random
        self._settings = settings
        self._log = _log.bind(node=name)
        self._prober = Prober(runtime, self.post, clock=clock, boot_clock=boot_clock, random=random)
        self._errands = Errands(runtime, gateways, self._deployment_of)
        self._volumes = VolumeWatch(runtime, self.post)
        self._inbox: list[st.Stimulus] = []
        self._filled = asyncio.Event()
        self._unsaved: list[Entry] = []
        self._flush_asked = False
        self._flush_timer: asyncio.TimerHandle | None = None
        self._wake_timer: asyncio.TimerHandle | None = None
        self._beat_timer: asyncio.TimerHandle | None = None
        self._boot_timer: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def core(self) -> AgentCore:
        """The node's state machine, once `run` has read the disk."""
        return self._core

    def post(self, stimulus: st.Stimulus) -> None:
        """Put a stimulus into the inbox."""
        self._inbox.append(stimulus)
        self._filled.set()

    async def run(self) -> None:
        """Run until cancelled. Containers go on without it.

        Raises:
            DiskDamagedError: what was kept can't be trusted.
            OSError: the disk refuses to keep more.
        """
        self._node_id, kept = await self._disk.load()
        crash_point("agent.after-load")
        self._core = AgentCore(kept, self._settings.policy)
        self._session = Session(
            self._gateways,
            self._node_id,
            self._name,
            host=self._host,
            post=self.post,
            run=self._errands.begin,
            backoff=self._settings.backoff,
            random=self._random,
        )
        try:
            async with asyncio.TaskGroup() as self._tasks:
                # What is on disk is started before anybody is dialled.
                await self._turn([st.Booted(tuple(await self._look()), self._boot_id)])
                self._tasks.create_task(self._watch_runtime(), name=f"{self._name}:runtime")
                self._tasks.create_task(self._collect(), name=f"{self._name}:collect")
                self._tasks.create_task(self._watch_volumes(), name=f"{self._name}:volumes")
                self._tasks.create_task(self._dial(self._tasks), name=f"{self._name}:session")
                while True:
                    await self._filled.wait()
                    await self._turn(self._empty_inbox())
        finally:
            await self._errands.close()
            for timer in self._timers():
                if timer is not None:
                    timer.cancel()
            await self._save(())
            await self._disk.close()

    def _timers(self) -> tuple[asyncio.TimerHandle | None, ...]:
        return self._flush_timer, self._wake_timer, self._beat_timer, self._boot_timer

    # --- a turn -----------------------------------------------------------------------------

    def _empty_inbox(self) -> list[st.Stimulus]:
        batch, self._inbox = self._inbox, []
        self._filled.clear()
        return batch

    async def _turn(self, batch: Sequence[st.Stimulus]) -> None:
        # Read before anything is sent: what was heard of this turn left no earlier.
        now_us, boot_us = self._clock(), self._boot_clock()
        effects = [effect for each in batch for effect in self._core.handle(each, now_us, boot_us)]
        effects += self._core.handle(st.Settled(), now_us, boot_us)
        await self._save(effects)
        for effect in effects:
            if not isinstance(effect, ef.Save):
                self._perform(effect)

    async def _save(self, effects: Sequence[ef.Effect]) -> None:
        """Write the batch's saves as one, with those that could wait until now."""
        saves = [effect for effect in effects if isinstance(effect, ef.Save)]
        entries = [entry for save in saves for entry in save.entries]
        self._unsaved += entries
        self._log_observations(entries)
        urgent = any(save.urgent for save in saves) or not effects or self._flush_asked
        if not self._unsaved:
            return
        if urgent:
            # Taken out first: a write that is cancelled on its way must not be written twice.
            entries, self._unsaved, self._flush_asked = self._unsaved, [], False
            if self._flush_timer is not None:
                self._flush_timer.cancel()
                self._flush_timer = None
            crash_point("agent.before-save")
            await self._disk.save(entries, self._core.kept)
            crash_point("agent.after-save")
            SAVES.inc()
        elif self._flush_timer is None:
            loop = asyncio.get_running_loop()
            self._flush_timer = loop.call_later(self._settings.flush_s, self._ask_flush)

    def _ask_flush(self) -> None:
        self._flush_asked = True
        self._filled.set()

    def _log_observations(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, ObservationKept) and entry.reported:
                seen = entry.observation
                REPLICA_CHANGES.labels(seen.state.name.lower()).inc()
                self._log.info(
                    f"replica {seen.state.name.lower()}",
                    replica=seen.replica_id,
                    restarts=seen.restart_count,
                    final=seen.final,
                    reason=seen.reason,
                )

    def _perform(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Send(stream, message):
                if isinstance(message, ef.Report):
                    crash_point("agent.before-report")
                    REPORTS.inc()
                self._session.send(stream, message)
            case ef.CloseStream(stream, reason, redial_now):
                self._session.close(stream, reason, redial_now=redial_now)
            case ef.BeatEvery(stream, period_ms):
                self._beat_in(stream, period_ms)
            case ef.Wake(at_us):
                self._wake_at(at_us)
            case ef.WakeAtBoot(boot_us):
                self._wake_at_boot(boot_us)
            case ef.BeatNow(_):
                self._beat_once()
            case _:
                self._perform_on_replica(effect)

    def _perform_on_replica(self, effect: ef.Effect) -> None:
        match effect:
            case ef.PrepareReplica(replica_id, spec):
                self._spawn(self._prepare(replica_id, spec))
            case ef.StartContainer(replica_id, restart_count, spec):
                self._spawn(self._start(replica_id, restart_count, spec))
            case ef.StopContainer(replica_id, hurry, grace_ms, within_ms):
                grace_ms = grace_ms or self._settings.stop_grace_ms
                grace_ms = min(grace_ms, STOP_GRACE_MS) if hurry else grace_ms
                grace_ms = min(grace_ms, within_ms) if within_ms else grace_ms
                self._spawn(self._stop(replica_id, grace_ms))
            case ef.RemoveContainer(replica_id):
                self._spawn(self._remove(replica_id))
            case ef.BeginProbing():
                if self._tasks is not None:
                    self._prober.begin(effect, self._tasks)
            case ef.EndProbing(replica_id):
                self._prober.end(replica_id)

    def _spawn(self, operation: Coroutine[Any, Any, None]) -> None:
        if self._tasks is not None:
            self._tasks.create_task(operation)

    # --- timers -----------------------------------------------------------------------------

    def _wake_at(self, at_us: int) -> None:
        if self._wake_timer is not None:
            self._wake_timer.cancel()
            self._wake_timer = None
        if at_us:
            delay_s = max(0, at_us - self._clock()) / _US_PER_S
            loop = asyncio.get_running_loop()
            self._wake_timer = loop.call_later(delay_s, self.post, st.TimePassed())

    def _wake_at_boot(self, boot_us: int) -> None:
        """Post `TimePassed` at that instant; the loop's own timers stand still while it sleeps."""
        if self._boot_timer is not None:
            self._boot_timer.cancel()
            self._boot_timer = None
        if not boot_us:
            return
        left_s = (boot_us - self._boot_clock()) / _US_PER_S
        if left_s <= 0:
            self.post(st.TimePassed())
            return
        loop = asyncio.get_running_loop()
        self._boot_timer = loop.call_later(
            min(left_s, _LOOK_AT_BOOT_CLOCK_S), self._wake_at_boot, boot_us
        )

    def _beat_in(self, stream: int, period_ms: int) -> None:
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        jitter = self._random.uniform(1 - _HEARTBEAT_JITTER, 1 + _HEARTBEAT_JITTER)
        loop = asyncio.get_running_loop()
        self._beat_timer = loop.call_later(period_ms * jitter / 1000, self._beat, stream, period_ms)

    def _beat(self, stream: int, period_ms: int) -> None:
        # On a stream that is gone the core drops it; the next Welcome starts a new rhythm.
        self._beat_once()
        self._beat_in(stream, period_ms)

    def _beat_once(self) -> None:
        crash_point("agent.before-heartbeat")
        cpu_percent, memory_percent = self._host.usage()
        self.post(st.HeartbeatDue(cpu_percent, memory_percent))

    # --- the runtime ------------------------------------------------------------------------

    async def _look(self) -> Sequence[FoundContainer]:
        """Ask the runtime what it has, until it answers."""
        while True:
            try:
                crash_point("agent.before-look")
                return await self._runtime.containers()
            except RuntimeFaultError as fault:
                self._log.warning("runtime gives no answer", reason=str(fault))
                await asyncio.sleep(self._settings.runtime_retry_s)

    async def _watch_runtime(self) -> None:
        async for event in self._runtime.events():
            self.post(event)

    async def _dial(self, tasks: asyncio.TaskGroup) -> None:
        await self._host.look()  # so that the first Hello says all
        tasks.create_task(self._watch_host(), name=f"{self._name}:host")
        await self._session.run()

    async def _watch_host(self) -> None:
        known = self._host.fingerprint(), self._host.details()
        while True:
            await asyncio.sleep(self._settings.fingerprint_period_s)
            await self._host.look()
            now = self._host.fingerprint(), self._host.details()
            if now != known:
                known = now
                self.post(st.FingerprintChanged(*now))

    async def _collect(self) -> None:
        """Have images removed that nobody needs, every now and then."""
        while True:
            await asyncio.sleep(self._settings.collect_period_s)
            records = self._core.kept.replicas.values()
            needed = {each.spec.image for each in records if each.spec and not each.ended}
            try:
                await self._runtime.collect(needed)
            except (RuntimeFaultError, OSError) as fault:
                self._log.warning("images not looked through", reason=str(fault))
            except Exception as error:  # noqa: BLE001 - the node's replicas run without it
                self._log.error("images not looked through", exc_info=error)

    async def _watch_volumes(self) -> None:
        replicas = self._core.kept.replicas
        await self._volumes.run(replicas.values, self._settings.volume_period_s)

    async def _prepare(self, replica_id: str, spec: ReplicaSpec) -> None:
        crash_point("agent.before-preparation")
        progress = ProgressReports(
            lambda text: self.post(st.PrepareProgress(replica_id, text)),
            self._boot_clock,
            self._settings.progress_s,
        )
        try:
            await self._runtime.prepare(spec, progress)
            crash_point("agent.after-preparation")
        except Exception as error:  # noqa: BLE001 - one replica's trouble isn't the node's
            why, chance = self._why(error, replica_id), self._random.random()
            missing = isinstance(error, ImageMissingError)
            self.post(st.PrepareFailed(replica_id, why, chance, missing))
        else:
            self.post(st.Prepared(replica_id))

    async def _start(self, replica_id: str, restart_count: int, spec: ReplicaSpec) -> None:
        crash_point("agent.before-container-start")
        try:
            started = await self._runtime.start(replica_id, restart_count, spec)
            crash_point("agent.after-container-start")
        except Exception as error:  # noqa: BLE001 - as above
            why, missing = self._why(error, replica_id), isinstance(error, ImageMissingError)
            self.post(st.StartFailed(replica_id, restart_count, why, missing))
        else:
            self.post(
                st.Started(
                    replica_id,
                    restart_count,
                    started.container_id,
                    started.started_at_us,
                    started.ports,
                )
            )

    async def _stop(self, replica_id: str, grace_ms: int) -> None:
        crash_point("agent.before-container-stop")
        try:
            exit_code = await self._runtime.stop(replica_id, grace_ms)
            crash_point("agent.after-container-stop")
        except Exception as error:  # noqa: BLE001 - as above
            self.post(st.StopFailed(replica_id, self._why(error, replica_id)))
        else:
            self.post(st.StopFinished(replica_id, exit_code))

    async def _remove(self, replica_id: str) -> None:
        """Remove a container, however often that takes, until its replica is wanted again."""
        while True:
            crash_point("agent.before-container-removal")
            try:
                await self._runtime.remove(replica_id)
                crash_point("agent.after-container-removal")
                return
            except Exception as error:  # noqa: BLE001 - as above
                why = self._why(error, replica_id)
                self._log.warning("container not removed", replica=replica_id, reason=why)
            await asyncio.sleep(self._settings.removal_retry_s)
            record = self._core.kept.replicas.get(replica_id)
            if record is not None and not record.ended:
                return

    def _deployment_of(self, replica_id: str) -> str | None:
        record = self._core.kept.replicas.get(replica_id)
        return record.spec.deployment_id if record is not None and record.spec is not None else None

    def _why(self, error: Exception, replica_id: str) -> str:
        if isinstance(error, RuntimeFaultError):
            return str(error)
        self._log.error("runtime adapter broke", replica=replica_id, exc_info=error)
        return f"the agent's runtime adapter broke: {error!r}"
