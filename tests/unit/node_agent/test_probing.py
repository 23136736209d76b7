"""Probes: what tries add up to, and what the core makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fogbank.domain.containers import ContainerSpec, HealthProbe, ProbeKind
from fogbank.domain.errands import Brought
from fogbank.domain.states import Health, ReplicaState, RestartPolicy
from services.node_agent.adapters import one_container
from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.probes import network_probe
from services.node_agent.app.ports import ContainerRuntime, ProbeTry, RuntimeFaultError
from services.node_agent.app.prober import Prober
from services.node_agent.core import effects as ef
from services.node_agent.core import stimuli as st
from services.node_agent.core.probing import Tally
from services.node_agent.core.replica import FoundContainer, ReplicaSpec
from services.node_agent.core.restarts import AgentPolicy
from tests.support.waiting import eventually
from tests.unit.node_agent.scenes import Scene, spec, to_run, to_stop

PROBE = HealthProbe(ProbeKind.HTTP, 80, start_period_ms=10, failures=2, successes=2)


def probed(
    probe: HealthProbe = PROBE, restart: RestartPolicy = RestartPolicy.ALWAYS
) -> ReplicaSpec:
    return replace(spec(restart=restart), container=ContainerSpec(probe=probe))


@pytest.fixture
def scene() -> Scene:
    scene = Scene(AgentPolicy(report_window=1_000))
    scene.boot()
    scene.connect()
    return scene


def healths(tally: Tally, tries: str) -> list[str]:
    """What is known after each try, `.` for a success and `x` for a failure, 1 ms apart."""
    found = []
    for number, sign in enumerate(tries):
        tally.tried(passed=sign == ".", now_us=number * 1_000)
        found.append(tally.health.name)
    return found


def test_so_many_in_a_row_change_what_is_known() -> None:
    known = healths(Tally(PROBE, -1_000_000), "..x.xx.x..")
    unhealthy = ["UNHEALTHY"] * 4
    assert known == ["UNKNOWN", *["HEALTHY"] * 4, *unhealthy, "HEALTHY"]


def test_failures_soon_after_the_start_do_not_count() -> None:
    assert healths(Tally(PROBE, 0), "x" * 12)[9:] == ["UNKNOWN"] * 2 + ["UNHEALTHY"]


def test_the_first_success_ends_the_start_period() -> None:
    once = replace(PROBE, successes=1, failures=1)
    assert healths(Tally(once, 0), ".x") == ["HEALTHY", "UNHEALTHY"]


def test_a_container_with_a_probe_is_ready_only_when_that_passes(scene: Scene) -> None:
    scene.complete(to_run("a", probed()))
    scene.happen(st.Prepared("a"))
    effects = scene.happen(scene.started("a"))
    assert ef.BeginProbing("a", 0, PROBE, scene.now_us, Health.UNKNOWN) in effects
    assert (scene.last_seen("a").state, scene.last_seen("a").health) == (
        ReplicaState.RUNNING,
        Health.UNKNOWN,
    )
    scene.happen(st.HealthSeen("a", 0, Health.HEALTHY))
    assert scene.last_seen("a").health is Health.HEALTHY


def test_an_unhealthy_one_runs_on_unless_it_is_to_be_restarted(scene: Scene) -> None:
    scene.complete(to_run("a", probed()))
    scene.run("a")
    effects = scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY, "status 500"))
    assert not any(isinstance(each, ef.StopContainer) for each in effects)
    assert scene.last_seen("a").reason == "status 500"


@pytest.mark.parametrize("restart", [RestartPolicy.ALWAYS, RestartPolicy.ON_FAILURE])
def test_an_unhealthy_one_is_stopped_and_started_again(
    scene: Scene, restart: RestartPolicy
) -> None:
    scene.complete(to_run("a", probed(replace(PROBE, restart_unhealthy=True), restart)))
    scene.run("a")
    effects = scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY, "status 500"))
    assert effects[:2] == [ef.EndProbing("a"), ef.StopContainer("a")]
    scene.happen(st.StopFinished("a", 0))
    seen = scene.last_seen("a")
    # However politely it ended.
    assert (seen.state, seen.final, seen.exit_code) == (ReplicaState.FAILED, False, 0)
    assert seen.reason == "stopped as unhealthy: status 500; starting again in 15 s"
    scene.pass_s(15)
    scene.happen(st.Prepared("a"))
    assert scene.last_seen("a").restart_count == 1


def test_a_loop_of_unhealthy_starts_is_given_up_with_its_reason(scene: Scene) -> None:
    scene.complete(to_run("a", probed(replace(PROBE, restart_unhealthy=True))))
    for count in range(3):
        scene.happen(st.Prepared("a"))
        scene.happen(scene.started("a", count))
        scene.happen(st.HealthSeen("a", count, Health.UNHEALTHY, "status 500"))
        scene.happen(st.StopFinished("a", 137))
        scene.pass_s(15)
    seen = scene.last_seen("a")
    assert seen.final
    assert "stopped as unhealthy: status 500; restarted 2 times" in seen.reason


def healths_told(scene: Scene) -> list[tuple[Health, str]]:
    return [
        (each.health, each.reason)
        for report in scene.reports
        for each in report.observations
        if each.state is ReplicaState.RUNNING
    ]


def test_of_a_health_that_swings_the_log_hears_once_a_second(scene: Scene) -> None:
    scene.complete(to_run("a", probed()))
    scene.run("a")

    for number in reversed(range(30)):
        health = Health.UNHEALTHY if number % 2 else Health.HEALTHY
        scene.happen(st.HealthSeen("a", 0, health, f"swing {number}"))
        scene.pass_s(0.1)
    scene.pass_s(1)

    assert healths_told(scene) == [
        (Health.UNKNOWN, ""),
        (Health.UNHEALTHY, "swing 29"),
        (Health.HEALTHY, "swing 20"),
        (Health.HEALTHY, "swing 10"),
        (Health.HEALTHY, "swing 0"),
    ]


def test_the_agent_wakes_to_tell_what_waited(scene: Scene) -> None:
    scene.complete(to_run("a", probed()))
    scene.run("a")
    scene.happen(st.HealthSeen("a", 0, Health.HEALTHY))
    scene.pass_s(0.25)
    scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY))
    assert ef.WakeAtBoot(scene.boot_us + 750_000) in scene.effects
    assert scene.last_seen("a").health is Health.HEALTHY
    scene.pass_s(0.75)
    assert scene.last_seen("a").health is Health.UNHEALTHY


def test_what_waits_for_an_acknowledgement_wakes_nobody() -> None:
    scene = Scene(AgentPolicy(report_window=1))
    scene.boot()
    scene.connect()
    scene.complete(to_run("a", probed()))
    scene.happen(st.Acknowledged(1))
    scene.run("a")
    scene.happen(st.HealthSeen("a", 0, Health.HEALTHY))
    assert not any(isinstance(each, ef.WakeAtBoot) for each in scene.effects)
    for number in (2, 3):
        scene.happen(st.Acknowledged(number))
    assert scene.last_seen("a").health is Health.HEALTHY


def test_swings_while_cut_off_take_no_room_and_lose_no_step_of_the_replica(scene: Scene) -> None:
    scene.complete(to_run("a", probed()))
    scene.run("a")
    scene.happen(st.StreamClosed())
    told = len(scene.reports)

    for _ in range(500):
        scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY), st.HealthSeen("a", 0, Health.HEALTHY))
        scene.pass_s(10)
    assert not scene.core.kept.unreported
    scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY, "status 500"))
    scene.connect(last_report_number=told)
    assert (scene.last_seen("a").health, len(scene.reports)) == (Health.UNHEALTHY, told + 1)

    scene.happen(st.StreamClosed())
    scene.happen(st.HealthSeen("a", 0, Health.HEALTHY))
    scene.happen(st.ContainerEnded("a", 0, 3))
    assert [each.state for each in scene.core.kept.unreported] == [ReplicaState.FAILED]


def test_what_is_unhealthy_is_stopped_at_once_although_its_report_waits(scene: Scene) -> None:
    scene.complete(to_run("a", probed(replace(PROBE, restart_unhealthy=True))))
    scene.run("a")
    scene.happen(st.HealthSeen("a", 0, Health.HEALTHY))
    effects = scene.happen(st.HealthSeen("a", 0, Health.UNHEALTHY, "status 500"))
    assert effects == [ef.EndProbing("a"), ef.StopContainer("a")]


def test_what_is_stopped_is_probed_no_more_and_has_its_own_grace(scene: Scene) -> None:
    container = ContainerSpec(probe=PROBE, stop_grace_ms=25_000)
    scene.complete(to_run("a", replace(spec(), container=container)))
    scene.run("a")
    effects = scene.incremental(to_stop("a"))
    assert effects == [ef.EndProbing("a"), ef.StopContainer("a", grace_ms=25_000)]


def test_an_agent_that_comes_back_probes_on(scene: Scene) -> None:
    scene.complete(to_run("a", probed()))
    scene.run("a")
    scene.happen(st.HealthSeen("a", 0, Health.HEALTHY))
    started_us = scene.now_us
    found = FoundContainer("a", 0, "c-a", running=True, started_at_us=started_us)
    assert scene.reboot(found) == [ef.BeginProbing("a", 0, PROBE, started_us, Health.HEALTHY)]


class _Runtime:
    """Probes as the test says: each answer once, then the last for ever; None: nobody can tell."""

    def __init__(self, *answers: str | Exception | None) -> None:
        self._answers: Iterator[str | Exception | None] = iter(answers)
        self._last: str | Exception | None = ""
        self.opened = 0

    @asynccontextmanager
    async def probing(self, replica_id: str, probe: HealthProbe) -> AsyncIterator[ProbeTry]:
        self.opened += 1

        async def attempt() -> str:
            self._last = next(self._answers, self._last)
            if self._last is None:
                self._last = ""
                raise RuntimeFaultError("the engine is away")
            if isinstance(self._last, Exception):
                raise self._last
            if self._last == "hangs":
                await asyncio.Event().wait()
            return self._last

        yield attempt


async def probe_until(
    count: int, runtime: _Runtime, probe: HealthProbe
) -> list[tuple[Health, str]]:
    seen: list[st.HealthSeen] = []
    port: ContainerRuntime = runtime  # type: ignore[assignment]
    prober = Prober(port, seen.append, clock=lambda: 0, boot_clock=lambda: 10**9, random=Random(1))
    async with asyncio.TaskGroup() as tasks:
        prober.begin(ef.BeginProbing("a", 0, probe, 0, Health.UNKNOWN), tasks)
        await eventually(lambda: len(seen) >= count, what="what the probe found")
        prober.end("a")
    return [(each.health, each.reason) for each in seen[:count]]


QUICK = HealthProbe(ProbeKind.TCP, 80, interval_ms=1, timeout_ms=100, failures=1)


async def test_changes_are_told_with_their_reason() -> None:
    runtime = _Runtime("no connection", "no connection", "")
    assert await probe_until(2, runtime, QUICK) == [
        (Health.UNHEALTHY, "tcp probe: no connection"),
        (Health.HEALTHY, ""),
    ]


async def test_no_answer_in_time_is_a_failure() -> None:
    assert await probe_until(1, _Runtime("hangs"), QUICK) == [
        (Health.UNHEALTHY, "tcp probe: no answer within 100 ms")
    ]


async def test_what_nobody_can_tell_is_no_failure() -> None:
    runtime = _Runtime(None, "")
    assert await probe_until(1, runtime, QUICK) == [(Health.HEALTHY, "")]
    assert runtime.opened == 2


async def test_an_answer_that_makes_no_sense_is_a_failure() -> None:
    runtime = _Runtime(ValueError("Enum has no name"), "")
    assert await probe_until(2, runtime, QUICK) == [
        (
            Health.UNHEALTHY,
            "tcp probe: an answer that makes no sense: ValueError('Enum has no name')",
        ),
        (Health.HEALTHY, ""),
    ]


class _OddHealth(health_pb2_grpc.HealthServicer):
    async def Check(self, request: object, context: object) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=99)


async def test_a_health_of_no_name_is_a_failure() -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(_OddHealth(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        probe = HealthProbe(ProbeKind.GRPC, port, timeout_ms=10_000)
        async with network_probe("127.0.0.1", port, probe) as attempt:
            assert await attempt() == "status 99"
    finally:
        await server.stop(None)


class _SlowExec:
    """A command that wrote all it has to say and is looked at twice before it has ended."""

    def __init__(self) -> None:
        self.ends = iter([(True, None), (True, None), (False, None), (False, 3)])
        self.containers = self

    def container(self, name: str) -> _SlowExec:
        return self

    async def exec(self, command: list[str]) -> _SlowExec:
        return self

    @asynccontextmanager
    async def start(self, *, detach: bool) -> AsyncIterator[_SlowExec]:
        yield self

    async def read_out(self) -> None:
        return None

    async def inspect(self) -> dict[str, object]:
        running, exit_code = next(self.ends)
        return {"Running": running, "ExitCode": exit_code}


async def test_a_command_that_ended_its_output_first_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(one_container, "_LOOK_AGAIN_S", 0)
    docker: Any = _SlowExec()
    async with Engine("http://127.0.0.1:1") as engine:
        monkeypatch.setattr(engine, "stream", lambda operation: operation(docker))
        pieces = [piece async for piece in one_container.execute(engine, "c", ["true"])]
    assert pieces == [Brought(exit_code=3)]
