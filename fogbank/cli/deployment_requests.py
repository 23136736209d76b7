"""Deployments as text to the server's messages."""

from dataclasses import asdict
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from fogbank.cli.container_text import container_message
from fogbank.cli.deployment_files import ConstraintText, DeploymentText, DisconnectText
from fogbank.codec.values import spec_from_pb, spec_to_pb
from fogbank.domain.deployment import RolloutSpec
from fogbank.v1 import deployment_service_pb2, deployments_pb2, resources_pb2

_THOUSANDTHS = 1000


def create_request(text: DeploymentText) -> deployment_service_pb2.CreateDeploymentRequest:
    """Return the request that makes the deployment; one without a request id gets a fresh one."""
    return deployment_service_pb2.CreateDeploymentRequest(
        request_id=text.request_id or str(uuid4()),
        spec=deployment_spec(text),
        env=dict(text.env or {}),
    )


def replacing_request(
    text: DeploymentText, deployment_id: str, request_id: str = "", etag: str = ""
) -> deployment_service_pb2.UpdateDeploymentRequest:
    """Return the request that makes a deployment what the text says, all of it.

    What the text doesn't say is as it is by default, but for the environment: that stays.
    """
    whole = [field.name for field in deployments_pb2.DeploymentSpec.DESCRIPTOR.fields]
    return deployment_service_pb2.UpdateDeploymentRequest(
        request_id=request_id or text.request_id or str(uuid4()),
        deployment_id=deployment_id,
        spec=spec_to_pb(spec_from_pb(deployment_spec(text))),
        update_mask=FieldMask(paths=[*whole, *([] if text.env is None else ["env"])]),
        env=dict(text.env or {}),
        etag=etag,
    )


def deployment_spec(text: DeploymentText) -> deployments_pb2.DeploymentSpec:
    """Return what is asked for, as far as it is said."""
    return deployments_pb2.DeploymentSpec(
        name=text.name,
        type=service_type(text.type),
        container_image=text.container_image,
        replicas=text.replicas,
        resources=resources_pb2.Resources(
            cpu_millicores=round(text.cpu * _THOUSANDTHS),
            memory_mib=text.memory,
            storage_gib=text.storage,
            gpu_thousandths=round(text.gpu * _THOUSANDTHS),
        ),
        region=text.region,
        priority=text.priority,
        cluster_id=text.cluster_id,
        strategy=text.strategy,
        wait_for_capacity=text.wait_for_capacity,
        constraints=[constraint_message(constraint) for constraint in text.constraints],
        gpu_model=text.gpu_model,
        restart=restart_policy(text.restart),
        labels=dict(text.labels),
        allow_colocation=text.allow_colocation,
        rollout=_rollout(text.rollout),
        disconnect=_disconnect(text.disconnect),
        container=container_message(text.container, text.name),
    )


def service_type(word: str) -> deployments_pb2.ServiceType.ValueType:
    """Return the number of one of `SERVICE_TYPES`."""
    return deployments_pb2.ServiceType.Value(f"SERVICE_TYPE_{word.upper()}")


def restart_policy(word: str) -> deployments_pb2.RestartPolicy.ValueType:
    """Return the number of one of `RESTARTS`."""
    return deployments_pb2.RestartPolicy.Value(f"RESTART_POLICY_{word.upper().replace('-', '_')}")


def _rollout(rollout: RolloutSpec) -> deployments_pb2.RolloutSpec | None:
    if rollout == RolloutSpec():
        return None
    return deployments_pb2.RolloutSpec(**asdict(rollout))


def _disconnect(text: DisconnectText) -> deployments_pb2.DisconnectRules | None:
    if text == DisconnectText():
        return None
    return deployments_pb2.DisconnectRules(
        lost_after_ms=text.lost_after_ms or None,
        replace=text.replace,
        stop_on_client_after_ms=text.stop_on_client_after_ms or None,
    )


def constraint_message(text: ConstraintText) -> deployments_pb2.Constraint:
    """Return the message of a demand on nodes."""
    return deployments_pb2.Constraint(
        attribute=text.attribute,
        operator=deployments_pb2.ConstraintOperator.Value(
            f"CONSTRAINT_OPERATOR_{text.operator.upper()}"
        ),
        values=text.values,
    )
