"""Messages that ask for deployments, as asks for the core to check."""

from __future__ import annotations

from fogbank.domain.deployment import Constraint, DeploymentSpec
from fogbank.domain.errors import InvalidArgumentError
from fogbank.domain.position import parse_etag
from fogbank.domain.states import ConstraintOperator, RestartPolicy
from fogbank.v1 import deployment_service_pb2 as pb
from fogbank.v1 import deployments_pb2
from services.gateway.app.deployments import CreateAsk
from services.gateway.core.asks import Ask, spec_of
from services.gateway.core.bounds import Bounds


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
        cluster_id=spec.cluster_id,
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
