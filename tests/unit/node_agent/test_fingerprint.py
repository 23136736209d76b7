"""What hosts say of themselves."""

from pathlib import Path

import psutil

from fogbank.domain.resources import NOTHING, Resources
from fogbank.domain.states import RuntimeKind
from services.node_agent.adapters.fingerprint import DeclaredHost, MeasuredHost, SimulatedHost, less


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
