"""What an engine is told about a container, and how its answers are read."""

from typing import Any

import pytest

from fogbank.domain.containers import ContainerSpec, Port, PortProtocol, Volume
from fogbank.domain.resources import Resources
from services.node_agent.adapters.container_config import (
    ContainerLimits,
    container_config,
    instant_us,
    read_container,
)
from services.node_agent.adapters.container_usage import counters
from services.node_agent.core.replica import ReplicaSpec


def config(cpu_millicores: int, memory_mib: int, **limits: Any) -> dict[str, Any]:
    spec = ReplicaSpec("d-1", "web", "nginx", Resources(cpu_millicores, memory_mib), {"A": "b"})
    made = container_config(
        "n-1", "r-1", 0, spec, limits=ContainerLimits(**limits), most_millicores=2_000
    )
    return dict(made["HostConfig"])


@pytest.mark.parametrize(
    ("asked", "given"), [(500, 500_000_000), (0, 10_000_000), (16_000, 2_000_000_000)]
)
def test_processors_stay_within_what_engines_take(asked: int, given: int) -> None:
    assert config(asked, 64)["NanoCpus"] == given


def test_no_container_has_unlimited_memory_or_swap() -> None:
    host = config(100, 0)
    assert host["Memory"] == host["MemorySwap"] == 6 << 20


def test_every_capability_is_dropped_but_those_that_are_named() -> None:
    host = config(100, 64, capabilities=("CHOWN",))
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["CHOWN"])
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges"]


def test_the_engine_is_asked_for_the_devices_that_the_placement_counts() -> None:
    limits = ContainerLimits()
    spec = ReplicaSpec("d-1", "web", "nginx", Resources(100, 64, 0, 1_500), gpu_devices=(2, 0))
    made = container_config("n-1", "r-1", 0, spec, limits=limits, most_millicores=2_000)
    assert made["HostConfig"]["DeviceRequests"] == [
        {"DeviceIDs": ["2", "0"], "Capabilities": [["gpu"]]}
    ]
    assert config(100, 64)["DeviceRequests"] is None


def test_commands_ports_and_volumes_are_what_was_asked() -> None:
    container = ContainerSpec(
        command=("serve", "--all"),
        ports=(Port(80), Port(53, PortProtocol.UDP)),
        volumes=(Volume("data", "/data", 2), Volume("seed", "/seed", 1, read_only=True)),
        stop_signal="SIGINT",
    )
    spec = ReplicaSpec("d-1", "web", "nginx", Resources(100, 64), container=container)
    made = container_config("n-1", "r-1", 0, spec, limits=ContainerLimits(), most_millicores=2_000)
    assert (made["Entrypoint"], made["Cmd"], made["StopSignal"]) == (["serve"], ["--all"], "SIGINT")
    assert made["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert made["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostPort": ""}],
        "53/udp": [{"HostPort": ""}],
    }
    assert made["HostConfig"]["Binds"] == [
        "fogbank-n-1-d-1-data:/data:rw",
        "fogbank-n-1-d-1-seed:/seed:ro",
    ]
    assert not config(100, 64)["PortBindings"]


def test_where_ports_are_reached_is_read_back() -> None:
    shown = read_container(
        {
            "Id": "c",
            "State": {},
            "Config": {},
            "NetworkSettings": {
                "Networks": {"podman": {"IPAddress": "10.88.0.2"}},
                "Ports": {
                    "80/tcp": [
                        {"HostIp": "0.0.0.0", "HostPort": "32768"},  # noqa: S104 (an answer)
                        {"HostIp": "::", "HostPort": "32768"},
                    ],
                    "81/tcp": None,
                    "9/sctp": [{"HostPort": "1"}],
                },
            },
        }
    )
    assert shown.address == "10.88.0.2"
    assert [str(port) for port in shown.ports] == ["32768->80/tcp"]


def test_limits_may_be_left_to_the_engine() -> None:
    host = config(100, 64, pids=0, open_files=0, user_processes=9)
    assert host["PidsLimit"] is None
    assert host["Ulimits"] == [{"Name": "nproc", "Soft": 9, "Hard": 9}]


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("2026-11-22T02:57:57.306626366Z", 1795316277306626),
        ("2026-11-22T02:57:57.3Z", 1795316277300000),
        ("2026-11-22T02:57:57Z", 1795316277000000),
        ("2026-11-22T03:57:57.5+01:00", 1795316277500000),
        ("0001-01-01T00:00:00Z", 0),
        ("", 0),
    ],
)
def test_instants_are_read_as_engines_write_them(text: str, us: int) -> None:
    assert instant_us(text) == us


def shown(**state: Any) -> dict[str, Any]:
    return {
        "Id": "c-1",
        "State": {"Status": "exited", "StartedAt": "2026-11-22T02:57:57Z", "ExitCode": 3} | state,
        "Config": {"Labels": {"fogbank.replica": "r-1", "fogbank.restart": "2"}},
    }


def test_a_container_is_read_with_its_labels() -> None:
    container = read_container(shown())
    assert (container.replica_id, container.restart_count) == ("r-1", 2)
    assert (container.running, container.started, container.exit_code) == (False, True, 3)
    assert container.stop_signal == "SIGTERM"
    assert not container.why_ended


def test_an_end_for_lack_of_memory_says_so() -> None:
    why = "OOMKilled: it needed more memory than it may use"
    assert read_container(shown(OOMKilled=True)).why_ended == why


def test_a_container_that_was_only_made_has_not_started() -> None:
    assert not read_container(shown(Status="created", StartedAt="0001-01-01T00:00:00Z")).started


def test_file_caches_are_not_memory_in_use() -> None:
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 7}},
        "memory_stats": {"usage": 100, "stats": {"inactive_file": 30}},
    }
    assert counters(stats) == (7, 70)
    assert counters({}) == (0, 0)
