"""What hosts say of themselves."""

import asyncio
import platform
import threading
from pathlib import Path

import psutil

from fogbank.domain.node import Gpu, HostDetails
from fogbank.domain.resources import NOTHING, Resources
from fogbank.domain.states import RuntimeKind
from services.node_agent.adapters.engine_facts import EngineFacts
from services.node_agent.adapters.fingerprint import DeclaredHost, MeasuredHost, SimulatedHost, less
from services.node_agent.adapters.gpus import GpuReadError
from services.node_agent.app.ports import RuntimeFaultError


def test_the_real_host_is_measured(tmp_path: Path) -> None:
    host = MeasuredHost(
        tmp_path, reserved=Resources(500, 256, 1), region="eu", labels={"a": "b"}, gpu_count=1
    )
    fingerprint = host.fingerprint()
    assert fingerprint.capacity.cpu_millicores == (psutil.cpu_count() or 1) * 1000
    assert fingerprint.capacity.memory_mib > 256
    assert fingerprint.capacity - fingerprint.allocatable == Resources(500, 256, 1)
    assert fingerprint.capacity.gpu_thousandths == 1000
    assert fingerprint.arch in {"amd64", "arm64", "arm", "386"} or fingerprint.arch
    assert fingerprint.os == "linux"
    assert fingerprint.agent_version
    assert all(0 <= load <= 100 for load in host.usage())


def test_more_may_be_reserved_than_there_is() -> None:
    assert less(Resources(1, 1, 1, 1), Resources(5, 5, 5, 5)) == NOTHING


def test_a_simulated_host_is_as_busy_as_its_replicas_make_it() -> None:
    running = [Resources(), Resources(2000, 4096), Resources(400_000, 1)]
    host = SimulatedHost(Resources(4000, 8192, 10), lambda: running[0], gpu_model="T4")
    assert host.fingerprint().runtime is RuntimeKind.SIMULATED
    assert host.fingerprint().gpu_model == "", "it has none"
    assert host.usage() == (2.0, 2.0)
    del running[0]
    assert host.usage() == (27.0, 27.0)
    del running[0]
    assert host.usage()[0] == 100.0


def test_a_share_of_a_machine_is_as_busy_as_its_containers() -> None:
    host = DeclaredHost(Resources(2000, 1000, 10), lambda: Resources(500, 100), region="here")
    assert host.fingerprint().runtime is RuntimeKind.CONTAINER
    assert (
        host.fingerprint().capacity == host.fingerprint().allocatable == Resources(2000, 1000, 10)
    )
    assert host.usage() == (27.0, 12.0)


async def test_the_engine_and_its_disks_stay_known_while_it_is_away(tmp_path: Path) -> None:
    answers = [EngineFacts("podman", "5.4\n" + "x" * 300, str(tmp_path), "/not/here")]

    async def read() -> EngineFacts:
        if answers:
            return answers.pop()
        raise RuntimeFaultError("away")

    host = MeasuredHost(tmp_path, read_engine=read)
    before = host.details()
    assert before == HostDetails(kernel_release=platform.release())
    await host.look()
    known = host.details()
    assert (known.engine_name, known.engine_version) == ("podman", "5.4" + "x" * 253)
    assert known.image_disk_gib == psutil.disk_usage(str(tmp_path)).total >> 30
    assert known.volume_disk_gib == 0
    await host.look()
    assert host.details() == known


async def test_gpus_are_measured_where_no_setting_speaks(tmp_path: Path) -> None:
    found = (Gpu("T4", 15360), Gpu("T4", 15360))

    async def measured(
        gpus: tuple[Gpu, ...], count: int | None = None, model: str = ""
    ) -> tuple[int, str, tuple[Gpu, ...]]:
        host = MeasuredHost(tmp_path, gpu_count=count, gpu_model=model, read_gpus=lambda: gpus)
        await host.look()
        offered = host.fingerprint()
        return offered.capacity.gpu_thousandths, offered.gpu_model, host.details().gpus

    assert await measured(found) == (2000, "T4", found)
    assert await measured(found, 1) == (1000, "T4", found[:1])
    assert await measured(found, 0) == (0, "", ())
    assert await measured(found, None, "mine") == (2000, "mine", found)
    assert await measured((), 3, "mine") == (3000, "mine", ())
    mixed = (Gpu("T4"), Gpu("L4"))
    assert await measured(mixed) == (2000, "", mixed), "no model that each of them has"


async def test_gpus_that_give_no_answer_stay_as_they_were(tmp_path: Path) -> None:
    answers: list[tuple[Gpu, ...] | Exception] = [GpuReadError("lost"), (Gpu("T4"),)]
    may_go_on = threading.Event()

    def read() -> tuple[Gpu, ...]:
        if not answers:
            may_go_on.wait(60)
            return ()
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    host = MeasuredHost(tmp_path, read_gpus=read, patience_s=0.01)
    await eventually_gpus(host, 1)
    while answers:
        await host.look()
    for _ in range(3):
        await host.look()
        assert host.fingerprint().capacity.gpu_thousandths == 1000, "one that hangs is awaited"
    may_go_on.set()
    await eventually_gpus(host, 0)


async def eventually_gpus(host: MeasuredHost, count: int) -> None:
    async with asyncio.timeout(60):
        while len(host.details().gpus) != count:
            await host.look()


async def test_hosts_that_are_declared_say_what_runs_their_containers() -> None:
    async def read() -> EngineFacts:
        return EngineFacts("docker", "28.0.1", "/")

    host = DeclaredHost(Resources(2000, 1000, 10), Resources, read_engine=read)
    await host.look()
    assert host.details() == HostDetails(platform.release(), "docker", "28.0.1")
