"""Which revisions an update may forget, and which a rollback may lead to."""

import pytest

from fogbank.v1 import deployments_pb2, rounds_pb2
from tests.unit.checker.building import Bytes, a_replica, on, releasing, room


@pytest.fixture
def log() -> Bytes:
    return Bytes()


def image(number: int) -> deployments_pb2.DeploymentSpec:
    return deployments_pb2.DeploymentSpec(
        name="web", replicas=1, resources=room(), container_image=f"nginx:{number}"
    )


def going_back(log: Bytes, deployment_id: str, bad: int, good: int) -> rounds_pb2.Outcome:
    back = rounds_pb2.DeploymentRolledBack(
        deployment_id=deployment_id,
        version=log.versions[deployment_id],
        from_revision=bad,
        to_revision=good,
    )
    return rounds_pb2.Outcome(rolled_back=back)


def updated(log: Bytes, last: int, *needed: int) -> str:
    """Return a deployment whose replica runs its first revision, and that was updated since."""
    node, known = log.node("first"), log.deploy("web")
    log.place(known, node)
    for number in range(2, last + 1):
        log.update(known, image(number), *needed)
    return known


def test_what_a_replica_runs_is_not_forgotten(log: Bytes) -> None:
    updated(log, 10)
    assert log.rules() == []
    log.update(next(iter(log.versions)), image(11))
    assert log.rules() == ["forgotten"]


def test_what_is_needed_is_kept_and_led_back_to(log: Bytes) -> None:
    known = updated(log, 13, 1)
    log.round(going_back(log, known, 13, 1))
    assert log.rules() == []


@pytest.mark.parametrize(("good", "why"), [(1, "is no longer kept"), (14, "never was")])
def test_nobody_goes_back_to_what_is_not_kept(log: Bytes, good: int, why: str) -> None:
    known = updated(log, 1)
    log.round(releasing(known, a_replica(known)))
    for number in range(2, 14):
        log.update(known, image(number))
    log.round(going_back(log, known, 13, good))
    (violation,) = log.check().violations
    assert violation.rule.value == "rolled-back"
    assert violation.sentence.endswith(why)


def test_a_round_that_went_back_to_what_is_not_kept_means_nothing(log: Bytes) -> None:
    node, known = log.node("first"), log.deploy("web")
    for number in range(2, 13):
        log.update(known, image(number))
    log.round(going_back(log, known, 12, 1))
    log.round(log.placing(known, on(known, node), revision=12))
    assert log.rules() == ["rolled-back"], "it is placed as it was asked for"
