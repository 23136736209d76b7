"""What an agent may say of a replica."""

from dataclasses import replace
from typing import Any

import pytest

from fogbank.domain.bounds import MAX_INSTANT_US
from fogbank.domain.containers import PortProtocol, PublishedPort
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.states import ReplicaState
from services.gateway.core.observations import (
    MAX_OBSERVATIONS,
    MAX_REASON,
    checked,
    require_bearable,
)
from tests.support.fleet_log import LittleLog, an_id

GOOD = LittleLog().seen(an_id("replica"), ReplicaState.RUNNING)


def test_what_makes_sense_passes() -> None:
    assert checked(GOOD) == GOOD
    last = replace(GOOD, started_at_us=MAX_INSTANT_US, observed_at_us=MAX_INSTANT_US)
    assert checked(last) == last


def test_long_reasons_are_cut() -> None:
    assert checked(replace(GOOD, reason="x" * 5_000)).reason == "x" * MAX_REASON


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"replica_id": "x" * 257}, "replica_id"),
        ({"container_id": "x" * 257}, "container_id"),
        ({"restart_count": -1}, "restart_count"),
        ({"started_at_us": -1}, "started_at_us"),
        ({"started_at_us": 1 << 62}, "started_at_us"),
        ({"observed_at_us": MAX_INSTANT_US + 1}, "observed_at_us"),
        ({"ports": (PublishedPort(80, PortProtocol.TCP, 80),) * 33}, "ports"),
        ({"ports": (PublishedPort(80, PortProtocol.TCP, 65_536),)}, "ports.host_port"),
        ({"ports": (PublishedPort(-1, PortProtocol.TCP, 80),)}, "ports.number"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        checked(replace(GOOD, **changes))
    assert caught.value.violations[0].field == f"report.observations.{field}"


def test_a_report_has_only_so_many() -> None:
    require_bearable(MAX_OBSERVATIONS)
    with pytest.raises(InvalidArgumentError, match="may be at most 1024, got 1025") as caught:
        require_bearable(MAX_OBSERVATIONS + 1)
    assert caught.value.violations[0].field == "report.observations"
