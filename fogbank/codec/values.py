"""Values shared by events and by the public API, mapped one onto the other.

Protobuf's 0 of an enum means "not given"; the domain has no such member, so each mapping states
what it stands for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from fogbank.codec.containers import container_from_pb, container_to_pb
from fogbank.codec.glances import glance
from fogbank.domain.containers import PLAIN_CONTAINER, ContainerSpec
from fogbank.domain.deployment import (
    DEFAULT_CLUSTER_ID,
    DEFAULT_PRIORITY,
    DEFAULT_REGION,
    Constraint,
    DeploymentSpec,
    DisconnectRules,
    RolloutSpec,
)
from fogbank.domain.members import ByNumber
from fogbank.domain.node import NO_DETAILS, Fingerprint, Gpu, HostDetails
from fogbank.domain.resources import Resources
from fogbank.domain.states import ConstraintOperator, RestartPolicy, RuntimeKind, ServiceType
from fogbank.v1 import deployments_pb2, nodes_pb2, resources_pb2

_DEFAULT_ROLLOUT = RolloutSpec()
_DEFAULT_DISCONNECT = DisconnectRules()
_SERVICE_TYPES = ByNumber(ServiceType)
_RESTART_POLICIES = ByNumber(RestartPolicy)
_RUNTIME_KINDS = ByNumber(RuntimeKind)
# Of parts that many specs have in common.
_PARTS_REMEMBERED = 1 << 12
_SPEC = glance(
    deployments_pb2.DeploymentSpec,
    as_bytes=("resources", "rollout", "disconnect", "container"),
    last_bytes=("constraints", "labels"),
)


def resources_to_pb(value: Resources) -> resources_pb2.Resources:
    """Return the message of an amount."""
    message = resources_pb2.Resources()
    fill_resources(message, value)
    return message


def fill_resources(message: resources_pb2.Resources, value: Resources) -> None:
    """Fill an amount's message, which may be part of another one, and is there even if it is 0."""
    message.SetInParent()
    message.cpu_millicores = value.cpu_millicores
    message.memory_mib = value.memory_mib
    message.storage_gib = value.storage_gib
    message.gpu_thousandths = value.gpu_thousandths


def resources_from_pb(message: resources_pb2.Resources) -> Resources:
    """Return the amount that a message holds."""
    return Resources(
        message.cpu_millicores, message.memory_mib, message.storage_gib, message.gpu_thousandths
    )


@lru_cache(_PARTS_REMEMBERED)
def resources_from_bytes(data: bytes) -> Resources:
    """Return the amount that a message's bytes hold: the same one for what many ask."""
    return resources_from_pb(resources_pb2.Resources.FromString(data))


def spec_to_pb(spec: DeploymentSpec) -> deployments_pb2.DeploymentSpec:
    """Return the message of a deployment's spec."""
    return deployments_pb2.DeploymentSpec(
        name=spec.name,
        type=deployments_pb2.ServiceType.ValueType(spec.type),
        container_image=spec.container_image,
        replicas=spec.replicas,
        resources=resources_to_pb(spec.resources),
        region=spec.region,
        priority=spec.priority,
        cluster_id=spec.cluster_id,
        strategy=spec.strategy,
        wait_for_capacity=spec.wait_for_capacity,
        constraints=[
            deployments_pb2.Constraint(
                attribute=constraint.attribute,
                operator=deployments_pb2.ConstraintOperator.ValueType(constraint.operator),
                values=constraint.values,
            )
            for constraint in spec.constraints
        ],
        gpu_model=spec.gpu_model,
        restart=deployments_pb2.RestartPolicy.ValueType(spec.restart),
        labels=spec.labels,
        allow_colocation=spec.allow_colocation,
        rollout=None if spec.rollout == _DEFAULT_ROLLOUT else _rollout_to_pb(spec.rollout),
        disconnect=_disconnect_to_pb(spec.disconnect),
        container=container_to_pb(spec.container),
    )


def _rollout_to_pb(rollout: RolloutSpec) -> deployments_pb2.RolloutSpec:
    return deployments_pb2.RolloutSpec(
        max_surge=rollout.max_surge,
        max_unavailable=rollout.max_unavailable,
        min_healthy_ms=rollout.min_healthy_ms,
        progress_deadline_ms=rollout.progress_deadline_ms,
        auto_rollback=rollout.auto_rollback,
    )


def rollout_from_pb(message: deployments_pb2.RolloutSpec) -> RolloutSpec:
    """Return how an update replaces replicas, with defaults for what is absent."""
    given = {field.name: value for field, value in message.ListFields()}
    return replace(_DEFAULT_ROLLOUT, **given)


def _disconnect_to_pb(rules: DisconnectRules) -> deployments_pb2.DisconnectRules | None:
    if rules == _DEFAULT_DISCONNECT:
        return None
    return deployments_pb2.DisconnectRules(
        lost_after_ms=rules.lost_after_ms or None,
        replace=rules.replace,
        stop_on_client_after_ms=rules.stop_on_client_after_ms or None,
    )


def disconnect_from_pb(message: deployments_pb2.DisconnectRules) -> DisconnectRules:
    """Return what becomes of replicas whose node is cut off, with defaults for what is absent."""
    given = {field.name: value for field, value in message.ListFields()}
    return replace(_DEFAULT_DISCONNECT, **given)


def spec_from_pb(message: deployments_pb2.DeploymentSpec) -> DeploymentSpec:
    """Return the spec that a message holds, as `spec_from_bytes`."""
    return spec_from_bytes(message.SerializeToString())


def spec_from_bytes(data: bytes) -> DeploymentSpec:
    """Return the spec that a message's bytes hold, with defaults for what is absent.

    ValueError for an enum without a value where one must be.
    """
    message = _SPEC.FromString(data)
    constraints: tuple[Constraint, ...] = ()
    labels: dict[str, str] = {}
    if message.HasField("constraints") or message.HasField("labels"):
        whole = deployments_pb2.DeploymentSpec.FromString(data)
        constraints, labels = tuple(map(_constraint_from_pb, whole.constraints)), dict(whole.labels)
    rollout, disconnect, container = message.rollout, message.disconnect, message.container
    return DeploymentSpec(
        message.name,
        _SERVICE_TYPES[message.type],
        message.container_image,
        message.replicas,
        resources_from_bytes(message.resources),
        message.region or DEFAULT_REGION,
        message.priority if message.HasField("priority") else DEFAULT_PRIORITY,
        message.cluster_id or DEFAULT_CLUSTER_ID,
        message.strategy,
        message.wait_for_capacity,
        constraints,
        message.gpu_model,
        _RESTART_POLICIES[message.restart or RestartPolicy.ALWAYS],
        labels,
        message.allow_colocation,
        _rollout_from_bytes(rollout) if rollout else _DEFAULT_ROLLOUT,
        _disconnect_from_bytes(disconnect) if disconnect else _DEFAULT_DISCONNECT,
        _container_from_bytes(container) if container else PLAIN_CONTAINER,
    )


@lru_cache(_PARTS_REMEMBERED)
def _rollout_from_bytes(data: bytes) -> RolloutSpec:
    return rollout_from_pb(deployments_pb2.RolloutSpec.FromString(data))


@lru_cache(_PARTS_REMEMBERED)
def _disconnect_from_bytes(data: bytes) -> DisconnectRules:
    return disconnect_from_pb(deployments_pb2.DisconnectRules.FromString(data))


@lru_cache(_PARTS_REMEMBERED)
def _container_from_bytes(data: bytes) -> ContainerSpec:
    return container_from_pb(deployments_pb2.ContainerSpec.FromString(data))


def _constraint_from_pb(message: deployments_pb2.Constraint) -> Constraint:
    return Constraint(
        message.attribute, ConstraintOperator(message.operator), tuple(message.values)
    )


def fingerprint_to_pb(
    value: Fingerprint, details: HostDetails = NO_DETAILS
) -> nodes_pb2.Fingerprint:
    """Return the message of a host's fingerprint, with what it runs on if it says anything."""
    return nodes_pb2.Fingerprint(
        capacity=resources_to_pb(value.capacity),
        allocatable=resources_to_pb(value.allocatable),
        arch=value.arch,
        os=value.os,
        region=value.region,
        gpu_model=value.gpu_model,
        labels=value.labels,
        runtime=nodes_pb2.RuntimeKind.ValueType(value.runtime),
        agent_version=value.agent_version,
        details=_details_to_pb(details) if details != NO_DETAILS else None,
    )


def _details_to_pb(value: HostDetails) -> nodes_pb2.HostDetails:
    return nodes_pb2.HostDetails(
        kernel_release=value.kernel_release,
        engine_name=value.engine_name,
        engine_version=value.engine_version,
        image_disk_gib=value.image_disk_gib,
        volume_disk_gib=value.volume_disk_gib,
        gpus=[nodes_pb2.Gpu(model=gpu.model, memory_mib=gpu.memory_mib) for gpu in value.gpus],
    )


def details_from_pb(message: nodes_pb2.Fingerprint) -> HostDetails:
    """Return what a host runs on, as its fingerprint's message says."""
    found = message.details
    return HostDetails(
        kernel_release=found.kernel_release,
        engine_name=found.engine_name,
        engine_version=found.engine_version,
        image_disk_gib=found.image_disk_gib,
        volume_disk_gib=found.volume_disk_gib,
        gpus=tuple(Gpu(gpu.model, gpu.memory_mib) for gpu in found.gpus),
    )


def fingerprint_from_pb(message: nodes_pb2.Fingerprint) -> Fingerprint:
    """Return the fingerprint that a message holds."""
    return Fingerprint(
        capacity=resources_from_pb(message.capacity),
        allocatable=resources_from_pb(message.allocatable),
        arch=message.arch,
        os=message.os,
        region=message.region,
        gpu_model=message.gpu_model,
        labels=dict(message.labels),
        runtime=_RUNTIME_KINDS[message.runtime or RuntimeKind.SIMULATED],
        agent_version=message.agent_version,
    )
