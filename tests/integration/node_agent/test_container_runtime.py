"""What real containers have beyond the contract of all runtimes: limits, pulls, outages, labels."""

import asyncio
import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
import pytest

from fogbank.domain.containers import (
    ContainerSpec,
    HealthProbe,
    Port,
    PortProtocol,
    ProbeKind,
    Volume,
)
from fogbank.domain.resources import Resources
from services.node_agent.adapters.container_config import (
    DEPLOYMENT,
    DEPLOYMENT_NAME,
    NODE,
    REPLICA,
    RESTART,
)
from services.node_agent.adapters.engine import Engine
from services.node_agent.adapters.engine_facts import engine_reader
from services.node_agent.adapters.fingerprint import MeasuredHost
from services.node_agent.app.ports import ImageMissingError, RuntimeFaultError
from services.node_agent.core.replica import ReplicaSpec
from services.node_agent.core.volumes import over_size
from tests.support.containers import (
    RUNS,
    Heard,
    PodmanEngine,
    image_registry,
    lines_of,
)
from tests.support.engine_nodes import NODE_ID, Nodes, made_like, next_end, tried
from tests.support.waiting import eventually

pytestmark = pytest.mark.container


@pytest.fixture
def fragile(podman: PodmanEngine) -> Generator[PodmanEngine]:
    """The engine, for tests that end it; it runs again afterwards."""
    yield podman
    podman.stop()
    podman.start()


def spec(image: str = RUNS, **env: str) -> ReplicaSpec:
    return ReplicaSpec("d-1", "web", image, Resources(500, 64, 1), env)


def inspect(podman: PodmanEngine, container_id: str) -> dict[str, Any]:
    (shown,) = json.loads(podman.podman("inspect", container_id))
    return dict(shown)


async def test_an_engine_says_what_it_is(podman: PodmanEngine, tmp_path: Path) -> None:
    async with Engine(podman.url) as engine:
        host = MeasuredHost(tmp_path, read_engine=engine_reader(engine))
        await host.look()
    said = json.loads(podman.podman("info", "--format", "json"))
    details = host.details()
    assert (details.engine_name, details.engine_version) == ("podman", said["version"]["Version"])
    total = psutil.disk_usage(said["store"]["graphRoot"]).total >> 30
    assert details.image_disk_gib == total > 0


# --- what a container is given ----------------------------------------------------------------


async def test_a_container_has_its_share_and_no_more(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    started = await (await nodes.open()).start(replica_id, 3, spec(GREETING="hello"))
    shown = inspect(podman, started.container_id)
    host = shown["HostConfig"]
    assert shown["Name"] == f"replica-{replica_id}"
    assert shown["Config"]["Labels"] == {
        NODE: NODE_ID,
        REPLICA: replica_id,
        RESTART: "3",
        DEPLOYMENT: "d-1",
        DEPLOYMENT_NAME: "web",
    }
    assert "GREETING=hello" in shown["Config"]["Env"]
    assert (host["NanoCpus"], host["Memory"]) == (500_000_000, 64 << 20)
    assert host["PidsLimit"] == 64
    assert host["Privileged"] is False
    assert "no-new-privileges" in host["SecurityOpt"]
    assert sorted(shown["EffectiveCaps"]) == ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]
    limits = {each["Name"]: (each["Soft"], each["Hard"]) for each in host["Ulimits"]}
    assert limits["RLIMIT_NOFILE"] == limits["RLIMIT_NPROC"] == (1024, 1024)
    assert not host["PortBindings"]
    status = podman.podman("exec", started.container_id, "cat", "/proc/self/status")
    assert "NoNewPrivs:\t1" in status


async def test_an_absent_image_is_fetched_once(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open()
    with image_registry(podman) as registry:
        await runtime.prepare(spec(registry.image), Heard())
        image = registry.image
    # The registry is away now, and nobody misses it.
    await runtime.prepare(spec(image), Heard())
    assert (await runtime.start(replica_id, 0, spec(image))).container_id
    await runtime.remove(replica_id)
    podman.podman("rmi", "--force", image)
    with pytest.raises(RuntimeFaultError, match="refused"):
        await runtime.prepare(spec(image), Heard())


async def test_an_image_that_is_nowhere_is_refused_in_the_engines_words(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open()
    with image_registry(podman) as registry:
        image = f"{registry.address}/nobody/made-this:1"
        with pytest.raises(ImageMissingError, match=f"image not found: {image}: .*manifest"):
            await runtime.prepare(spec(image), Heard())
    with pytest.raises(ImageMissingError, match="image not found"):
        await runtime.start(replica_id, 0, spec(image))


# --- whose is whose ---------------------------------------------------------------------------


async def test_nodes_on_one_engine_are_kept_apart(nodes: Nodes, podman: PodmanEngine) -> None:
    first, second = await nodes.open(), await nodes.open(str(uuid4()))
    mine, others = str(uuid4()), str(uuid4())
    await first.start(mine, 0, spec())
    await second.start(others, 0, spec())
    podman.podman("run", "--detach", *("--ulimit", "nofile=64:64", "--ulimit", "nproc=64:64"), RUNS)
    assert [each.replica_id for each in await first.containers()] == [mine]
    assert [each.replica_id for each in await second.containers()] == [others]
    assert await first.stop(others, 0) is None
    await first.remove(others)
    assert not await lines_of(first, others, 10)
    with pytest.raises(RuntimeFaultError, match="somebody else"):
        await first.start(others, 0, spec())
    assert len(podman.containers(running_only=True)) == 3


async def test_two_starts_at_once_are_one(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    before, after = await nodes.open(), await nodes.open()
    await before.start(replica_id, 0, spec())
    again = await asyncio.gather(
        before.start(replica_id, 0, spec()), after.start(replica_id, 0, spec())
    )
    (container,) = podman.containers()
    assert {each.container_id for each in again} == {container["Id"]}


async def test_a_container_that_was_made_and_never_started_is_none(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    labels = {NODE: NODE_ID, REPLICA: replica_id, RESTART: "0"}
    given = [part for name, text in labels.items() for part in ("--label", f"{name}={text}")]
    podman.podman("create", "--name", f"replica-{replica_id}", *given, RUNS)
    runtime = await nodes.open()
    assert not await runtime.containers()
    assert await runtime.stop(replica_id, 0) is None
    await runtime.start(replica_id, 0, spec())
    (container,) = podman.containers(running_only=True)
    assert inspect(podman, container["Id"])["HostConfig"]["PidsLimit"] == 64


# --- an engine that goes away -----------------------------------------------------------------


async def test_an_engines_restart_ends_nothing(
    nodes: Nodes, fragile: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open(look_every_s=0.05)
    events = await nodes.events(runtime)
    before = await runtime.start(replica_id, 0, spec())
    waiting = asyncio.create_task(next_end(events))
    fragile.stop()
    with pytest.raises(RuntimeFaultError):
        await runtime.containers()
    fragile.start()

    async def is_there() -> bool:
        try:
            (found,) = await runtime.containers()
        except RuntimeFaultError:
            return False
        return found.running and found.container_id == before.container_id

    await eventually(is_there)
    assert not waiting.done()
    fragile.podman("kill", before.container_id)
    assert (await waiting).restart_count == 0, "events are followed again"


async def test_what_is_asked_of_an_engine_that_is_away_is_done_when_it_is_back(
    nodes: Nodes, fragile: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open()
    gone = str(uuid4())
    await runtime.start(gone, 0, spec())
    await eventually(lambda: lines_of(runtime, gone, 1), what="its first line")
    fragile.stop()
    async with asyncio.TaskGroup() as tasks:
        start = tasks.create_task(runtime.start(replica_id, 0, spec()))
        stop = tasks.create_task(runtime.stop(gone, 2_000))
        prepare = tasks.create_task(runtime.prepare(spec(), Heard()))
        with pytest.raises(RuntimeFaultError):
            await runtime.containers()
        assert not any(each.done() for each in (start, stop, prepare))
        fragile.start()
    assert stop.result() == 0
    assert {each.replica_id: each.running for each in await runtime.containers()} == {
        replica_id: True,
        gone: False,
    }


async def test_an_end_during_an_outage_is_told_afterwards(
    nodes: Nodes, fragile: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open(look_every_s=60)
    events = await nodes.events(runtime)
    started = await runtime.start(replica_id, 0, spec())
    waiting = asyncio.create_task(next_end(events))
    fragile.stop()
    fragile.podman("kill", started.container_id)
    fragile.start()
    assert (await waiting).exit_code == 137


async def test_a_start_whose_answer_was_lost_is_not_repeated(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open()
    first = await runtime.start(replica_id, 0, spec())
    podman.podman("kill", first.container_id)
    # As after a crash between the engine's answer and the agent's note of it.
    again = await (reopened := await nodes.open()).start(replica_id, 0, spec())
    assert again.container_id == first.container_id
    assert (await next_end(await nodes.events(reopened))).exit_code == 137


# --- how busy they are ------------------------------------------------------------------------


async def test_usage_is_measured(nodes: Nodes, podman: PodmanEngine, replica_id: str) -> None:
    runtime = await nodes.open(look_every_s=0.1)
    assert runtime.used_resources() == Resources()
    started = await runtime.start(replica_id, 0, spec())
    waiting = asyncio.create_task(next_end(await nodes.events(runtime)))
    podman.podman("exec", "--detach", started.container_id, "sh", "-c", "while :; do :; done")
    await eventually(lambda: runtime.used_resources().cpu_millicores >= 100, what="a busy node")
    assert 0 < runtime.used_resources().memory_mib <= 64
    await runtime.stop(replica_id, 0)
    await asyncio.wait_for(waiting, 60)
    assert runtime.used_resources() == Resources()


async def test_a_published_port_is_reached_where_it_is_said_to_be(
    nodes: Nodes, replica_id: str
) -> None:
    runtime = await nodes.open()
    wanted = made_like(ContainerSpec(ports=(Port(80),)))
    started = await runtime.start(replica_id, 0, wanted)
    (port,) = started.ports
    assert (port.number, port.protocol) == (80, PortProtocol.TCP)

    async def page() -> str:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port.host_port}/") as answer,
            ):
                return await answer.text()
        except aiohttp.ClientError:
            return ""

    await eventually(page, what="the container's page")
    assert "page of" in await page()
    (found,) = await (await nodes.open()).containers()
    assert found.ports == started.ports


async def test_data_of_a_volume_outlives_the_container(nodes: Nodes, replica_id: str) -> None:
    runtime = await nodes.open()
    write = ("/bin/sh", "-c", "echo kept > /data/file; exec sleep 1000")
    wanted = made_like(ContainerSpec(write, volumes=(Volume("data", "/data", 2),)))
    probe = HealthProbe(ProbeKind.EXEC, command=("cat", "/data/file"))
    await runtime.start(replica_id, 0, wanted)
    await eventually(lambda: tried(runtime, replica_id, probe), what="the file")
    await runtime.remove(replica_id)
    later = str(uuid4())
    rest = ContainerSpec(("/bin/sleep", "1000"), volumes=(Volume("data", "/data", 2, True),))
    await runtime.start(later, 0, replace(wanted, container=rest))
    assert await tried(runtime, later, probe)
    write_more = replace(probe, command=("/bin/sh", "-c", "echo more > /data/file"))
    assert not await tried(runtime, later, write_more)


async def test_a_volume_is_measured_and_not_begun_without_room(
    nodes: Nodes, replica_id: str
) -> None:
    runtime = await nodes.open()
    fill = ("/bin/sh", "-c", "busybox fallocate -l 1300M /data/f; echo done; exec sleep 1000")
    wanted = made_like(ContainerSpec(fill, volumes=(Volume("data", "/data", 1),)))
    assert await runtime.volume_bytes(wanted.deployment_id, "data") == 0
    await runtime.prepare(wanted, Heard())
    await runtime.start(replica_id, 0, wanted)
    await eventually(lambda: lines_of(runtime, replica_id, 1), what="its first line")
    held = {"data": await runtime.volume_bytes(wanted.deployment_id, "data")}
    said = over_size(wanted.container.volumes, held)
    assert said == "volume data holds 1.3 GiB of 1 GiB asked for"

    vast = tuple(Volume(name, f"/{name}", 1 << 20) for name in ("data", "more"))
    too_much = replace(wanted, container=ContainerSpec(fill, volumes=vast))
    left = r"they may take 1048576 GiB, and the engine's disk has \d+\.\d GiB left"
    with pytest.raises(RuntimeFaultError, match=f"no room for its volumes: {left}"):
        await runtime.prepare(too_much, Heard())


async def test_a_failing_probe_says_why(nodes: Nodes, replica_id: str) -> None:
    runtime = await nodes.open()
    await runtime.start(replica_id, 0, made_like(ContainerSpec(("/bin/sleep", "1000"))))
    command = ("/bin/sh", "-c", "echo not yet; exit 3")
    for probe, reason in (
        (HealthProbe(ProbeKind.EXEC, command=command), "exit code 3: not yet"),
        (HealthProbe(ProbeKind.TCP, 81), "no connection to port 81: "),
        (HealthProbe(ProbeKind.HTTP, 81), "no answer: "),
        (HealthProbe(ProbeKind.GRPC, 81), "unavailable: "),
    ):
        async with runtime.probing(replica_id, probe) as attempt:
            assert (await attempt()).startswith(reason)


async def test_a_probe_that_hangs_is_not_begun_a_second_time(
    nodes: Nodes, podman: PodmanEngine, replica_id: str
) -> None:
    runtime = await nodes.open()
    started = await runtime.start(replica_id, 0, spec())
    tries, go = "/tmp/tries", "/tmp/go"  # noqa: S108 (the container's own folder)
    script = f"echo begun >> {tries}; while [ ! -e {go} ]; do sleep 0.05; done"
    probe = HealthProbe(ProbeKind.EXEC, command=("sh", "-c", script))

    def in_container(*command: str) -> str:
        return podman.podman("exec", started.container_id, *command, check=False)

    async with runtime.probing(replica_id, probe) as attempt:
        hangs = asyncio.ensure_future(attempt())
        await eventually(lambda: "begun" in in_container("cat", tries), what="a try")
        hangs.cancel()
        async with asyncio.timeout(60):
            assert "still runs" in await attempt()
        assert in_container("cat", tries) == "begun"

        in_container("mkdir", go)

        async def passes() -> bool:
            return not await attempt()

        await eventually(passes, what="a try of its own")
    assert in_container("cat", tries).split() == ["begun"] * 2


async def test_a_container_has_its_own_signal_to_end(nodes: Nodes, replica_id: str) -> None:
    runtime = await nodes.open()
    trap = (
        "/bin/sh",
        "-c",
        "trap 'exit 7' INT; trap '' TERM; echo ready; while :; do sleep 0.1; done",
    )
    await runtime.start(replica_id, 0, made_like(ContainerSpec(trap, stop_signal="SIGINT")))
    await eventually(lambda: lines_of(runtime, replica_id, 1), what="its first line")
    assert await runtime.stop(replica_id, 60_000) == 7
