"""Deployments as the jobs face asks for them: one replica, amounts in the cluster's own units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fogbank.domain.bounds import MAX_REPLICAS
from fogbank.domain.deployment import DeploymentSpec, priority_class
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.states import ServiceType
from fogbank.domain.tenancy import Quota
from services.gateway.core.asks import CLUSTER, MAX_NAME, Ask, ask_of, check_image, spec_of
from services.gateway.core.bounds import Amount, Bounds


@dataclass(frozen=True, slots=True)
class JobFields:
    """What a job asks for, or (in an update) what is to change: None stands for not given.

    cpu in millicores, memory in MiB, gpu in thousandths; `priority` is a word.
    """

    image: str | None = None
    required_cpu: int | None = None
    required_ram: int | None = None
    required_gpu: int | None = None
    priority: str | None = None
    cluster_id: int | None = None

    @property
    def content(self) -> Mapping[str, Any]:
        """Return what was asked, by name, so that a repeat can be told."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def job_bounds(quota: Quota, widest: Bounds) -> Bounds:
    """Return what a job in a cluster may ask for: up to the cluster's total, if it has one.

    `widest` bounds what the quota leaves unlimited.
    """

    def up_to(name: str, least: int, limit: int | None, most: Amount) -> Amount:
        return Amount(name, least, most.high if limit is None else limit)

    return Bounds(
        replicas=Amount("replicas", 1, MAX_REPLICAS),
        cpu=up_to("required_cpu", 1, quota.cpu_millicores, widest.cpu),
        memory=up_to("required_ram", 1, quota.memory_mib, widest.memory),
        storage=Amount("storage", 0, widest.storage.high),
        gpu=up_to("required_gpu", 0, quota.gpu_thousandths, widest.gpu),
    )


def check_change(job: JobFields, bounds: Bounds) -> None:
    """Check what can be said of a change before the deployment is known.

    Raises:
        InvalidArgumentError: nothing is to change, or a field is wrong whatever else holds.
    """
    if not job.content:
        raise InvalidArgumentError.of_field("body", "must name what to change")
    if job.image is not None:
        check_image(job.image, "image")
    for amount, value in (
        (bounds.cpu, job.required_cpu),
        (bounds.memory, job.required_ram),
        (bounds.gpu, job.required_gpu),
        (CLUSTER, job.cluster_id),
    ):
        if value is not None and (problem := amount.problem(value)) is not None:
            raise InvalidArgumentError.of_field(amount.path, problem)


def job_spec(job: JobFields, cluster_id: int, bounds: Bounds) -> DeploymentSpec:
    """Return the spec of a new job, named after its image.

    Raises:
        InvalidArgumentError: names each field that is wrong.
    """
    image = job.image or ""
    check_image(image, "image")
    return spec_of(
        Ask(
            name=name_of(image),
            type=ServiceType.COMPUTE,
            container_image=image,
            replicas=1,
            cpu_millicores=job.required_cpu or 0,
            memory_mib=job.required_ram or 0,
            storage_gib=0,
            gpu_thousandths=job.required_gpu or 0,
            priority=job.priority,
            cluster_id=cluster_id,
        ),
        bounds,
    )


def changed_job(spec: DeploymentSpec, job: JobFields, bounds: Bounds) -> DeploymentSpec:
    """Return a spec with what was given of a job in it; its name stays.

    `bounds` are those of the cluster that it is in afterwards.

    Raises:
        InvalidArgumentError: names each field that is wrong.
    """
    given = {
        "container_image": job.image,
        "cpu_millicores": job.required_cpu,
        "memory_mib": job.required_ram,
        "gpu_thousandths": job.required_gpu,
        "priority": job.priority,
        "cluster_id": job.cluster_id,
    }
    known = {name: value for name, value in given.items() if value is not None}
    return spec_of(replace(ask_of(spec), **known), bounds)  # type: ignore[arg-type]


def name_of(image: str) -> str:
    """Return the name of a job: its image's, without registry, tag and digest."""
    last = image.partition("@")[0].rpartition("/")[2]
    return (last.partition(":")[0] or image)[:MAX_NAME]


def priority_word(priority: int) -> str:
    """Return the word for a priority that jobs are shown with."""
    return priority_class(priority).upper()
