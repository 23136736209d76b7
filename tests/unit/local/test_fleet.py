"""Fleets of simulated nodes: the default one, those of files, and how they are spread."""

from itertools import permutations
from pathlib import Path

import pytest

from fogbank.domain.deployment import DeploymentSpec
from fogbank.domain.states import DeploymentStatus
from fogbank.local.errors import FleetFileError
from fogbank.local.fleet import (
    SimulatedNode,
    default_fleet,
    group_fleet,
    keep_fleet,
    kept_fleet,
    read_fleet_file,
)
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_fingerprint, a_spec

EXAMPLES: dict[str, DeploymentSpec] = {
    "nginx-server": a_spec("nginx-server", 1, cpu=1000, memory=512, storage=5),
    "api-service": a_spec("api-service", 3, cpu=2000, memory=2048, storage=10),
    "ml-inference": a_spec("ml-inference", 2, cpu=4000, memory=8192, storage=50, gpu=1),
    "distributed-storage": a_spec("distributed-storage", 5, cpu=2000, memory=4096, storage=500),
}


@pytest.mark.parametrize("order", list(permutations(EXAMPLES)), ids="-".join)
def test_the_examples_fit_on_the_default_fleet_in_any_order(order: tuple[str, ...]) -> None:
    fleet = LittleFleet()
    for node in default_fleet():
        fleet.connect(
            node.name,
            a_fingerprint(
                cpu=round(node.cpu * 1000),
                memory=node.memory,
                storage=node.storage,
                gpu=node.gpu,
                region=node.region,
                labels=node.labels,
            ),
        )
    for name in order:
        deployment_id = fleet.deploy(EXAMPLES[name])
        fleet.settle()
        fleet.obey()
        assert fleet.status(deployment_id) is DeploymentStatus.RUNNING
        nodes = fleet.nodes_of(deployment_id)
        assert len(set(nodes)) == EXAMPLES[name].replicas


def test_the_default_fleet_has_what_it_promises() -> None:
    nodes = default_fleet()
    assert len(nodes) == 8
    assert len({node.name for node in nodes}) == 8
    assert sum(node.storage == 1000 for node in nodes) == 5
    assert sum(node.gpu > 0 for node in nodes) == 2
    assert {node.region for node in nodes} == {"us-east", "us-west"}


def test_larger_fleets_begin_with_the_default_one() -> None:
    assert default_fleet(1000)[:8] == default_fleet()
    assert len({node.name for node in default_fleet(1000)}) == 1000


@pytest.mark.parametrize("count", [0, -1, 10_001])
def test_a_count_out_of_bounds_is_refused(count: int) -> None:
    with pytest.raises(FleetFileError, match=f"nodes must be 1 to 10000, not {count}"):
        default_fleet(count)


def test_a_file_describes_nodes(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(
        "nodes:\n"
        "  - {name: edge, count: 2, region: eu, cpu: 0.5, memory: 512, storage: 0,\n"
        "     labels: {z: a}}\n"
        "  - {name: big, gpu: 2, gpu_model: T4}\n"
    )
    assert read_fleet_file(path) == [
        SimulatedNode("edge-1", "eu", 0.5, 512, 0, labels={"z": "a"}),
        SimulatedNode("edge-2", "eu", 0.5, 512, 0, labels={"z": "a"}),
        SimulatedNode("big", gpu=2, gpu_model="T4"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected `nodes:` with a list of nodes"),
        ("nodes: 3", "expected `nodes:` with a list of nodes"),
        ("nodes: []", "a fleet has 1 to 10000 nodes, not 0"),
        ("nodes: [{name: a}]\nmore: 1", "unknown field 'more'"),
        ("nodes: [a]", "node 1: expected fields"),
        ("nodes: [{count: 2}]", "node 1: name must be text, not None"),
        ("nodes: [{name: ../x}]", "node 1: name must have 1 to 64 letters"),
        ("nodes: [{name: a, cpus: 4}]", "node 1: unknown field 'cpus'; known are count, cpu"),
        ("nodes: [{name: a, cpu: 0}]", "node 1: cpu must be over 0, not 0"),
        ("nodes: [{name: a, cpu: many}]", "cpu must be a number of cores, not 'many'"),
        ("nodes: [{name: a}, {name: b, memory: 1.5}]", "node 2: memory must be a whole number"),
        ("nodes: [{name: a, count: 0}]", "count must be 1 to"),
        ("nodes: [{name: a, count: true}]", "count must be a whole number, not True"),
        ("nodes: [{name: a, storage: -1}]", "storage must be 0 to"),
        ("nodes: [{name: a, labels: [x]}]", "labels must map text to text"),
        ("nodes: [{name: a}, {name: a}]", "two nodes are named 'a'"),
        ("nodes: [{name: a-1}, {name: a, count: 2}]", "two nodes are named 'a-1'"),
        ("nodes: [", "is no YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_entry_and_field(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    with pytest.raises(FleetFileError) as caught:
        read_fleet_file(path)
    assert complaint in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetFileError, match="cannot read"):
        read_fleet_file(tmp_path / "none.yaml")


def test_a_fleet_is_kept_for_the_next_start(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    assert kept_fleet(path) is None
    keep_fleet(path, default_fleet(20))
    assert kept_fleet(path) == default_fleet(20)
    path.write_text("{")
    with pytest.raises(FleetFileError, match="name the fleet again"):
        kept_fleet(path)


def test_a_small_fleet_has_a_process_for_each_node() -> None:
    groups = group_fleet(default_fleet())
    assert [group.name for group in groups] == [f"agent-{node.name}" for node in default_fleet()]


def test_a_large_fleet_is_spread_evenly_over_eight_processes() -> None:
    nodes = default_fleet(1001)
    groups = group_fleet(nodes)
    assert [group.name for group in groups] == [f"agent-{number}" for number in range(1, 9)]
    assert {len(group.nodes) for group in groups} == {125, 126}
    assert {node.name for group in groups for node in group.nodes} == {node.name for node in nodes}
