"""Jobs: their names, bounds by cluster, and changes in part."""

import pytest

from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.tenancy import UNLIMITED, Quota
from services.gateway.core.bounds import GRPC_BOUNDS
from services.gateway.core.jobs import (
    JobFields,
    changed_job,
    job_bounds,
    job_spec,
    name_of,
    priority_word,
)
from tests.support.fleet_log import a_spec

JOB = JobFields("nginx11", 20, 10, 2, "HIGH")
QUOTA = Quota(cpu_millicores=80_000, memory_mib=16_384, gpu_thousandths=2_000)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx11", "nginx11"),
        ("nginx:1.27", "nginx"),
        ("r.example:5000/team/web:2@sha256:abc", "web"),
        ("r.example/web@sha256:abc", "web"),
        ("a/", "a/"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_job_is_named_after_its_image(image: str, name: str) -> None:
    assert name_of(image) == name


def test_a_job_is_one_replica_without_storage() -> None:
    spec = job_spec(JOB, 4, job_bounds(QUOTA, GRPC_BOUNDS))
    assert (spec.name, spec.replicas, spec.cluster_id, spec.priority) == ("nginx11", 1, 4, 80)
    amounts = spec.resources
    assert (amounts.cpu_millicores, amounts.memory_mib) == (20, 10)
    assert (amounts.storage_gib, amounts.gpu_thousandths) == (0, 2)


@pytest.mark.parametrize(
    ("job", "wrong"),
    [
        (JobFields("a b", 20, 10, 2, "HIGH"), ["image"]),
        (JobFields(None, 20, 10, 2, "HIGH"), ["image"]),
        (JobFields("a", 80_001, 16_385, 2_001, "LOW"), ["cpu", "ram", "gpu"]),
        (JobFields("a", 0, 0, -1, "LOW"), ["cpu", "ram", "gpu"]),
    ],
)
def test_a_job_asks_for_no_more_than_its_cluster_has(job: JobFields, wrong: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        job_spec(job, 4, job_bounds(QUOTA, GRPC_BOUNDS))
    fields = [each.field.removeprefix("required_") for each in caught.value.violations]
    assert fields == wrong


def test_what_a_quota_leaves_open_the_face_bounds() -> None:
    bounds = job_bounds(UNLIMITED, GRPC_BOUNDS)
    assert (bounds.cpu.high, bounds.gpu.high) == (GRPC_BOUNDS.cpu.high, GRPC_BOUNDS.gpu.high)
    assert job_bounds(Quota(memory_mib=5), GRPC_BOUNDS).memory.high == 5


def test_a_change_leaves_the_rest_as_it_is() -> None:
    spec = a_spec(replicas=3, labels={"a": "b"}, priority=50)
    bounds = job_bounds(UNLIMITED, GRPC_BOUNDS)
    assert changed_job(spec, JobFields(), bounds) == spec
    changed = changed_job(spec, JobFields(image="web:2", required_gpu=500, priority="LOW"), bounds)
    assert (changed.name, changed.container_image, changed.priority) == ("web", "web:2", 20)
    assert changed.resources.gpu_thousandths == 500
    assert (changed.replicas, changed.labels) == (3, {"a": "b"})


def test_priorities_are_shown_in_words() -> None:
    words = [priority_word(number) for number in (0, 49, 50, 59, 60, 100)]
    assert words == ["LOW", "LOW", "MEDIUM", "MEDIUM", "HIGH", "HIGH"]
