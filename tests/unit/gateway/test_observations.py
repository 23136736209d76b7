"""What an agent may say of a replica."""

from dataclasses import replace
from typing import Any

import pytest

from fogbank.codec.commits import encode_envelope
from fogbank.domain.bounds import MAX_INSTANT_US
from fogbank.domain.containers import PortProtocol, PublishedPort
from fogbank.domain.envelope import EventEnvelope
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.events import NodeReported
from fogbank.domain.reasons import MAX_REASON_BYTES
from fogbank.domain.states import ReplicaState
from fogbank.log.port import MAX_COMMIT_BYTES
from services.gateway.core.container_bounds import MAX_PORTS
from services.gateway.core.observations import MAX_OBSERVATIONS, checked, fitting, require_bearable
from services.node_agent.core.restarts import AgentPolicy
from tests.support.fleet_log import LittleLog, an_id

MOST = 1 << 62
GOOD = LittleLog().seen(an_id("replica"), ReplicaState.RUNNING)


def test_what_makes_sense_passes() -> None:
    assert checked(GOOD) == GOOD
    last = replace(GOOD, started_at_us=MAX_INSTANT_US, observed_at_us=MAX_INSTANT_US)
    assert checked(last) == last


def test_long_reasons_are_cut_to_whole_characters() -> None:
    (seen,) = fitting([replace(GOOD, reason="\N{CLOUD}" * 5_000)])
    assert seen.reason == "\N{CLOUD}" * (MAX_REASON_BYTES // 3)


@pytest.mark.parametrize("count", [AgentPolicy().report_size, MAX_OBSERVATIONS])
def test_a_report_fits_into_a_commit_whatever_its_reasons_quote(count: int) -> None:
    seen = replace(
        GOOD,
        container_id="c" * 64,
        started_at_us=MAX_INSTANT_US,
        observed_at_us=MAX_INSTANT_US,
        reason="\N{PILE OF POO}" * 5_000,
        ports=(PublishedPort(65_535, PortProtocol.UDP, 65_535),)
        * (MAX_PORTS if count == AgentPolicy().report_size else 1),
    )
    report = NodeReported(an_id("node"), MOST, MOST, fitting([checked(seen)] * count))
    node = f"node/{an_id('node')}"
    causes = (MOST,) * count
    envelope = EventEnvelope(
        an_id("event"), report, aggregate=node, actor=node, occurred_at_us=MOST, causes=causes
    )
    assert len(encode_envelope(envelope)) < 0.9 * MAX_COMMIT_BYTES


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
