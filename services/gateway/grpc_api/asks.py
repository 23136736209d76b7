"""Messages that ask for deployments, as asks for the core to check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from fogbank.codec.containers import container_from_pb
from fogbank.codec.values import disconnect_from_pb, rollout_from_pb, spec_to_pb
from fogbank.domain.containers import ContainerSpec, PortProtocol
from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.position import parse_etag
from fogbank.domain.states import ConstraintOperator, RestartPolicy
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployments_pb2
from services.gateway.app.deployments import CreateAsk
from services.gateway.core.asks import Ask, checked_cluster, spec_of
from services.gateway.core.bounds import Bounds

_ENV = "env"
_CLUSTER = "cluster_id"


def create_ask(request: pb.CreateDeploymentRequest, bounds: Bounds) -> CreateAsk:
    """Return what a request asks for.

    Raises:
        InvalidArgumentError: names each field that is wrong.
    """
    spec = checked_spec(request.spec, bounds, dict(request.env))
    return CreateAsk(spec, dict(request.env), request.request_id)


def checked_spec(
    spec: deployments_pb2.DeploymentSpec, bounds: Bounds, env: dict[str, str] | None = None
) -> DeploymentSpec:
    """Return a spec with defaults filled in.

    Raises:
        InvalidArgumentError: names each field that is wrong.
    """
    return spec_of(_ask(spec, env or {}), bounds)


def _ask(spec: deployments_pb2.DeploymentSpec, env: dict[str, str]) -> Ask:
    return Ask(
        name=spec.name,
        type=int(spec.type),
        container_image=spec.container_image,
        replicas=spec.replicas,
        cpu_millicores=spec.resources.cpu_millicores,
        memory_mib=spec.resources.memory_mib,
        storage_gib=spec.resources.storage_gib,
        gpu_thousandths=spec.resources.gpu_thousandths,
        region=spec.region,
        priority=spec.priority if spec.HasField("priority") else None,
        cluster_id=spec.cluster_id or None,
        strategy=spec.strategy,
        wait_for_capacity=spec.wait_for_capacity,
        constraints=tuple(
            Constraint(
                constraint.attribute,
                _operator(index, constraint.operator),
                tuple(constraint.values),
            )
            for index, constraint in enumerate(spec.constraints)
        ),
        gpu_model=spec.gpu_model,
        restart=_restart(spec.restart),
        labels=dict(spec.labels),
        allow_colocation=spec.allow_colocation,
        rollout=rollout_from_pb(spec.rollout),
        disconnect=disconnect_from_pb(spec.disconnect),
        container=_container(spec.container),
        env=env,
    )


def _operator(index: int, number: int) -> ConstraintOperator:
    try:
        return ConstraintOperator(number)
    except ValueError:
        names = [member.name for member in ConstraintOperator]
        raise InvalidArgumentError.of_field(
            f"spec.constraints[{index}].operator", f"must be one of {names}, got {number}"
        ) from None


def _container(message: deployments_pb2.ContainerSpec) -> ContainerSpec:
    try:
        return container_from_pb(message)
    except ValueError:
        names = [member.name for member in PortProtocol]
        raise InvalidArgumentError.of_field(
            "spec.container.ports", f"protocol must be one of {names}"
        ) from None


def _restart(number: int) -> RestartPolicy | None:
    if number == 0:
        return None
    try:
        return RestartPolicy(number)
    except ValueError:
        names = [member.name for member in RestartPolicy]
        raise InvalidArgumentError.of_field(
            "spec.restart", f"must be one of {names}, got {number}"
        ) from None


def expected_version(etag: str) -> int:
    """Return the version that an etag stands for, 0 for an empty one.

    Raises:
        InvalidArgumentError: no etag looks like that.
    """
    if not etag:
        return 0
    version = parse_etag(etag)
    if version is None:
        raise InvalidArgumentError.of_field("etag", "must be one that a deployment came with")
    return version


@dataclass(frozen=True, slots=True)
class Change:
    """Some fields of a spec to change: `paths`, and their values in `values`."""

    values: deployments_pb2.DeploymentSpec
    paths: tuple[str, ...]
    env: dict[str, str] | None

    @property
    def content(self) -> dict[str, Any]:
        """What was asked, in a form that is the same for every repeat; no environment values."""
        asked = deployments_pb2.DeploymentSpec()
        _merge(self.values, asked, self.paths)
        return {
            "paths": list(self.paths),
            "values": asked.SerializeToString(deterministic=True).hex(),
        }

    def applied(self, spec: DeploymentSpec, bounds: Bounds) -> DeploymentSpec:
        """Return a spec with the change in it.

        Raises:
            InvalidArgumentError: what it comes to is out of bounds.
        """
        changed = spec_to_pb(spec)
        _merge(self.values, changed, self.paths)
        return checked_spec(changed, bounds, self.env)


def change_of(request: pb.UpdateDeploymentRequest) -> Change:
    """Return what an update asks for.

    Raises:
        InvalidArgumentError: a field that isn't there, or none; or a cluster that can't be.
    """
    paths = sorted(request.update_mask.paths)
    if not paths:
        paths = sorted(field.name for field, _ in request.spec.ListFields())
        paths += [_ENV] if request.env else []
    if not paths:
        raise InvalidArgumentError.of_field("update_mask", "must name what to change")
    of_spec = tuple(path for path in paths if path != _ENV)
    for path in of_spec:
        known = FieldMask(paths=[path]).IsValidForDescriptor(
            deployments_pb2.DeploymentSpec.DESCRIPTOR
        )
        if not known:
            raise InvalidArgumentError.of_field(
                "update_mask", f"{path} is no field of a deployment"
            )
    if _CLUSTER in of_spec:
        checked_cluster(request.spec.cluster_id)
    return Change(request.spec, of_spec, dict(request.env) if _ENV in paths else None)


def _merge(
    source: deployments_pb2.DeploymentSpec,
    target: deployments_pb2.DeploymentSpec,
    paths: tuple[str, ...],
) -> None:
    FieldMask(paths=paths).MergeMessage(
        source, target, replace_message_field=True, replace_repeated_field=True
    )
