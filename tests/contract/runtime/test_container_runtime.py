"""What every container runtime keeps: one suite, all adapters."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from uuid import uuid4

import pytest

from fogbank.domain.containers import HealthProbe, ProbeKind
from fogbank.domain.resources import Resources
from fogbank.domain.states import RestartPolicy, RuntimeKind
from fogbank.runtime.clock import SystemClock
from services.node_agent.adapters.container_runtime import EngineRuntime
from services.node_agent.adapters.engine import Engine as Connection
from services.node_agent.adapters.kept_logs import KeptLogs
from services.node_agent.adapters.networks import DeploymentNetworks
from services.node_agent.adapters.simulated_runtime import SimulatedRuntime
from services.node_agent.app.ports import (
    ContainerRuntime,
    ImageMissingError,
    ProbeTry,
    RuntimeFaultError,
)
from services.node_agent.core.garbage import LogRules
from services.node_agent.core.replica import FoundContainer, ReplicaSpec
from services.node_agent.core.stimuli import ContainerEnded, RuntimeEvent
from tests.support.containers import (
    EXITS_WITH_3,
    RUNS,
    STUBBORN,
    UNSTARTABLE,
    Heard,
    PodmanEngine,
    image_registry,
    lines_of,
    remove_all,
    returning,
)
from tests.support.waiting import eventually

GRACE_MS = 50
_MADE_UP_US = 1_600_000_000_000_000


@dataclass
class Engine:
    """An adapter with its images; `reopen` is a new agent process on the same containers."""

    runtime: ContainerRuntime
    reopen: Callable[[], Awaitable[ContainerRuntime]]
    runs: str
    exits_with_3: str
    missing: str
    unstartable: str
    stubborn: str


@pytest.fixture(params=["simulated", pytest.param("container", marks=pytest.mark.container)])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Engine]:
    if request.param == "simulated":
        async with simulated(tmp_path) as opened:
            yield opened
    else:
        podman: PodmanEngine = request.getfixturevalue("podman")
        async with real(podman, tmp_path) as opened:
            yield opened


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[Engine]:
    with ThreadPoolExecutor(1) as pool:
        opened: list[SimulatedRuntime] = []

        async def reopen() -> ContainerRuntime:
            runtime = SimulatedRuntime(
                folder / "containers",
                pool,
                SystemClock().now_us,
                start_delay_s=0.001,
                kept_logs=KeptLogs(folder / "logs", LogRules()),
            )
            opened.append(runtime)
            return runtime

        yield Engine(
            await reopen(),
            reopen,
            runs="nginx:latest",
            exits_with_3="simulated/exit:3",
            missing="simulated/missing",
            unstartable="simulated/unstartable",
            stubborn="simulated/stubborn",
        )
        for runtime in opened:
            runtime.close()


@asynccontextmanager
async def real(podman: PodmanEngine, folder: Path) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        node_id = str(uuid4())

        async def reopen() -> ContainerRuntime:
            connection = await stack.enter_async_context(Connection(podman.url))
            return EngineRuntime(
                connection,
                returning(node_id),
                kept_logs=KeptLogs(folder / "logs", LogRules()),
                networks=DeploymentNetworks(IPv4Network("10.208.0.0/12")),
                look_every_s=0.2,
            )

        registry = stack.enter_context(image_registry(podman))
        runtime = await reopen()
        yield Engine(
            runtime,
            reopen,
            runs=RUNS,
            exits_with_3=EXITS_WITH_3,
            missing=f"{registry.address}/nobody/made-this:1",
            unstartable=UNSTARTABLE,
            stubborn=STUBBORN,
        )
        remove_all(podman)
        await runtime.collect(())


def spec(image: str) -> ReplicaSpec:
    return ReplicaSpec(
        str(uuid4()), "web", image, Resources(500, 64, 1), {"A": "b"}, RestartPolicy.ALWAYS
    )


@pytest.fixture
def replica_id() -> str:
    return str(uuid4())


@pytest.fixture
async def events(engine: Engine) -> AsyncIterator[AsyncIterator[RuntimeEvent]]:
    stream = engine.runtime.events()
    yield stream
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()


async def has_spoken(runtime: ContainerRuntime, replica_id: str) -> None:
    """Wait until its own program runs: before that, a signal meets what prepares it."""
    await eventually(lambda: lines_of(runtime, replica_id, 1), what="the container's first line")


async def only(runtime: ContainerRuntime) -> FoundContainer:
    (found,) = await runtime.containers()
    return found


async def test_a_started_container_is_found(engine: Engine, replica_id: str) -> None:
    await engine.runtime.prepare(spec(engine.runs), Heard())
    started = await engine.runtime.start(replica_id, 0, spec(engine.runs))
    found = await only(engine.runtime)
    assert started.container_id
    assert started.started_at_us > _MADE_UP_US
    assert found == FoundContainer(replica_id, 0, started.container_id, True, started.started_at_us)


async def test_to_start_what_runs_changes_nothing(engine: Engine, replica_id: str) -> None:
    first = await engine.runtime.start(replica_id, 0, spec(engine.runs))
    assert await engine.runtime.start(replica_id, 0, spec(engine.runs)) == first


async def test_a_restart_takes_the_place_of_the_one_before(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.runs))
    await engine.runtime.start(replica_id, 1, spec(engine.runs))
    found = await only(engine.runtime)
    assert (found.restart_count, found.running) == (1, True)


async def test_containers_outlive_the_agent(engine: Engine, replica_id: str) -> None:
    started = await engine.runtime.start(replica_id, 2, spec(engine.runs))
    found = await only(await engine.reopen())
    assert (found.replica_id, found.restart_count, found.running) == (replica_id, 2, True)
    assert found.container_id == started.container_id


async def test_an_end_is_told_and_remembered(
    engine: Engine, replica_id: str, events: AsyncIterator[RuntimeEvent]
) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.exits_with_3))
    event = await asyncio.wait_for(anext(events), 60)
    assert isinstance(event, ContainerEnded)
    assert (event.replica_id, event.restart_count, event.exit_code) == (replica_id, 0, 3)
    found = await only(engine.runtime)
    assert (found.running, found.exit_code) == (False, 3)


async def test_an_end_without_an_agent_is_found(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.exits_with_3))
    later = await engine.reopen()

    async def has_ended() -> bool:
        return not (await only(later)).running

    await eventually(has_ended)
    assert (await only(later)).exit_code == 3


async def test_a_container_that_ended_can_be_started_again(
    engine: Engine, replica_id: str, events: AsyncIterator[RuntimeEvent]
) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.exits_with_3))
    await asyncio.wait_for(anext(events), 60)
    await engine.runtime.start(replica_id, 1, spec(engine.exits_with_3))

    async def second_end() -> None:
        async for event in events:
            # The first end may be told again.
            if isinstance(event, ContainerEnded) and event.restart_count == 1:
                return

    await asyncio.wait_for(second_end(), 60)


async def test_a_missing_image_is_an_error_of_its_own(engine: Engine) -> None:
    with pytest.raises(ImageMissingError, match="image not found"):
        await engine.runtime.prepare(spec(engine.missing), Heard())


async def test_a_start_that_fails_leaves_nothing(engine: Engine, replica_id: str) -> None:
    with pytest.raises(RuntimeFaultError):
        await engine.runtime.start(replica_id, 0, spec(engine.unstartable))
    assert not [each for each in await engine.runtime.containers() if each.running]


async def test_stop_waits_for_the_end(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.runs))
    await has_spoken(engine.runtime, replica_id)
    exit_code = await engine.runtime.stop(replica_id, GRACE_MS)
    found = await only(engine.runtime)
    assert (found.running, found.exit_code) == (False, exit_code)


async def test_stop_ends_by_force_after_the_grace(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.stubborn))
    await has_spoken(engine.runtime, replica_id)
    assert await engine.runtime.stop(replica_id, GRACE_MS) == 137


async def test_a_stop_under_way_can_be_shortened(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.stubborn))
    await has_spoken(engine.runtime, replica_id)
    patient = asyncio.create_task(engine.runtime.stop(replica_id, 60_000))
    assert await engine.runtime.stop(replica_id, GRACE_MS) == 137
    assert not (await only(engine.runtime)).running
    patient.cancel()


async def test_what_was_stopped_sooner_is_left_alone(engine: Engine, replica_id: str) -> None:
    """Also where it was removed, by the time that whoever stopped it first had let it have."""
    await engine.runtime.start(replica_id, 0, spec(engine.stubborn))
    await has_spoken(engine.runtime, replica_id)
    patient = asyncio.create_task(engine.runtime.stop(replica_id, 2 * GRACE_MS))
    await engine.runtime.stop(replica_id, GRACE_MS)
    await engine.runtime.remove(replica_id)
    assert await patient in {None, 137}
    assert await engine.runtime.containers() == []


async def test_to_stop_what_ended_keeps_its_exit_code(
    engine: Engine, replica_id: str, events: AsyncIterator[RuntimeEvent]
) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.exits_with_3))
    await asyncio.wait_for(anext(events), 60)
    assert await engine.runtime.stop(replica_id, GRACE_MS) == 3


async def test_to_stop_what_is_unknown_is_no_error(engine: Engine, replica_id: str) -> None:
    assert await engine.runtime.stop(replica_id, GRACE_MS) is None


async def test_removing_takes_the_container_away(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.runs))
    await engine.runtime.remove(replica_id)
    await engine.runtime.remove(replica_id)
    assert not await engine.runtime.containers()
    assert not await (await engine.reopen()).containers()


async def test_the_last_lines_of_a_container_can_be_read(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.runs))
    await has_spoken(engine.runtime, replica_id)
    await engine.runtime.stop(replica_id, GRACE_MS)
    lines = await lines_of(engine.runtime, replica_id, 10)
    assert lines
    assert list(await lines_of(engine.runtime, replica_id, 1)) == list(lines[-1:])
    assert not await lines_of(engine.runtime, str(uuid4()), 10)


@pytest.mark.parametrize("kind", list(ProbeKind))
async def test_probes_tell_whether_a_container_is_well(
    engine: Engine, replica_id: str, kind: ProbeKind
) -> None:
    probe = HealthProbe(kind, 80, command=("echo", "well"))
    with pytest.raises(RuntimeFaultError):
        async with engine.runtime.probing(replica_id, probe):
            pass
    await engine.runtime.start(replica_id, 0, spec(engine.runs))
    await has_spoken(engine.runtime, replica_id)
    async with engine.runtime.probing(replica_id, probe) as attempt:
        if engine.runtime.kind is RuntimeKind.CONTAINER and kind is ProbeKind.GRPC:
            # A page is no health service; that of a real one is tried where there is one.
            assert await attempt()
            return
        await eventually(lambda: _passes(attempt), what="a probe that passes")


async def _passes(attempt: ProbeTry) -> bool:
    return not await attempt()


async def test_a_command_runs_in_the_container(engine: Engine, replica_id: str) -> None:
    with pytest.raises(RuntimeFaultError):
        await anext(aiter(engine.runtime.execute(replica_id, ["echo", "a"])))
    await engine.runtime.start(replica_id, 0, spec(engine.runs))
    await has_spoken(engine.runtime, replica_id)
    pieces = [piece async for piece in engine.runtime.execute(replica_id, ["echo", "a b", "c"])]
    assert b"".join(piece.data for piece in pieces) == b"a b c\n"
    assert [piece.exit_code for piece in pieces] == [None, 0]


async def test_of_a_container_that_is_gone_the_last_lines_stay(
    engine: Engine, replica_id: str
) -> None:
    async def said(*, previous: bool = False, tail: int = 100) -> str:
        pieces = engine.runtime.logs(replica_id, tail, previous=previous)
        return "".join([piece async for piece in pieces])

    wrote = []
    for count in range(4):
        await engine.runtime.start(replica_id, count, spec(engine.runs))
        await has_spoken(engine.runtime, replica_id)
        await engine.runtime.stop(replica_id, GRACE_MS)
        wrote.append(await said())
        if count:
            assert await said(previous=True) == wrote[-2]

    await engine.runtime.remove(replica_id)
    again = await engine.reopen()
    assert await lines_of(again, replica_id, 100) == wrote[3].splitlines()
    assert await lines_of(again, replica_id, 1) == wrote[3].splitlines()[-1:]
    assert await said(previous=True) == wrote[2]

    with pytest.raises(RuntimeFaultError, match="nothing is left"):
        await anext(aiter(engine.runtime.logs("another", 10, previous=True)))


async def test_followed_logs_end_with_the_container(engine: Engine, replica_id: str) -> None:
    await engine.runtime.start(replica_id, 0, spec(engine.runs))
    await has_spoken(engine.runtime, replica_id)
    said: list[str] = []

    async def follow() -> None:
        async for piece in engine.runtime.logs(replica_id, 10, follow=True):
            said.append(piece)  # noqa: PERF401 (seen while it grows)

    following = asyncio.create_task(follow())
    await eventually(lambda: bool(said), what="its first line")
    await engine.runtime.stop(replica_id, 60_000)
    await asyncio.wait_for(following, 60)
    assert "".join(said).splitlines() == await lines_of(engine.runtime, replica_id, 10)
