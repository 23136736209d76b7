"""Who may shake hands."""

from dataclasses import replace
from typing import Any

import pytest

from fogbank.domain.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    InvalidArgumentError,
)
from fogbank.domain.fleet import FleetState
from fogbank.domain.node import Fingerprint, Gpu, HostDetails
from fogbank.domain.resources import Resources
from services.gateway.core.hello import Hello, check_hello, check_identity
from tests.support.fleet_log import LittleLog, a_fingerprint, an_id

GOOD = Hello(an_id("node-1"), "node-1", 0, 0, a_fingerprint())


def test_a_good_hello_passes() -> None:
    check_hello(GOOD)
    check_identity(FleetState(), GOOD, [])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"node_id": ""}, "hello.node_id"),
        ({"node_id": "node-1"}, "hello.node_id"),
        ({"node_id": an_id("node-1").upper()}, "hello.node_id"),
        ({"name": ""}, "hello.name"),
        ({"name": "x" * 101}, "hello.name"),
        ({"name": "a\nb"}, "hello.name"),
        ({"last_epoch": -1}, "hello.last_epoch"),
        ({"last_sequence": -1}, "hello.last_sequence"),
        ({"fingerprint": a_fingerprint(cpu=-1)}, "hello.fingerprint.capacity.cpu_millicores"),
        ({"fingerprint": a_fingerprint(memory=1 << 41)}, "hello.fingerprint.capacity.memory_mib"),
        ({"fingerprint": a_fingerprint(gpu=257)}, "hello.fingerprint.capacity.gpu_thousandths"),
        ({"fingerprint": Fingerprint(Resources(), Resources(1))}, "hello.fingerprint.allocatable"),
        ({"fingerprint": a_fingerprint(region="a b")}, "hello.fingerprint.region"),
        (
            {"fingerprint": a_fingerprint(labels={str(n): "" for n in range(65)})},
            "hello.fingerprint",
        ),
        ({"fingerprint": a_fingerprint(labels={"a": "x" * 257})}, "hello.fingerprint"),
        (
            {"details": HostDetails(engine_name="a\nb")},
            "hello.fingerprint.details.engine_name",
        ),
        (
            {"details": HostDetails(image_disk_gib=-1)},
            "hello.fingerprint.details.image_disk_gib",
        ),
        ({"details": HostDetails(gpus=(Gpu("T4"),) * 257)}, "hello.fingerprint.details.gpus"),
        (
            {"details": HostDetails(gpus=(Gpu("T4"), Gpu("x" * 257)))},
            "hello.fingerprint.details.gpus[1].model",
        ),
        (
            {"details": HostDetails(gpus=(Gpu("T4", 1 << 41),))},
            "hello.fingerprint.details.gpus[0].memory_mib",
        ),
    ],
)
def test_a_hello_that_makes_no_sense_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_hello(replace(GOOD, **changes))

    assert caught.value.violations[0].field == field


def test_a_copied_identity_is_refused() -> None:
    log, fleet = LittleLog(), FleetState()
    node, commit = log.connect("node-1")
    fleet.fold(commit)
    check_identity(fleet, GOOD, [])  # never confirmed: the answer may have got lost

    fleet.fold(log.report(node))

    with pytest.raises(FailedPreconditionError, match="copy"):
        check_identity(fleet, GOOD, [])
    check_identity(fleet, replace(GOOD, last_epoch=log.epochs[node]), fleet.facts.nodes.values())


def test_a_name_belongs_to_one_node_that_is_not_offline() -> None:
    log, fleet = LittleLog(), FleetState()
    _node, commit = log.connect("node-1")
    fleet.fold(commit)

    with pytest.raises(AlreadyExistsError):
        check_identity(fleet, replace(GOOD, node_id=an_id("another")), fleet.facts.nodes.values())
    check_identity(fleet, replace(GOOD, node_id=an_id("another"), name="node-2"), [])
