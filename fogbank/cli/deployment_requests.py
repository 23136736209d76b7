"""Deployments as text to the server's messages."""

from dataclasses import asdict
from uuid import uuid4

from fogbank.cli.container_text import container_message
from fogbank.cli.deployment_files import ConstraintText, DeploymentText, DisconnectText
from fogbank.domain.deployment import RolloutSpec
from fogbank.v1 import deployment_service_pb2, deployments_pb2, resources_pb2

_THOUSANDTHS = 1000


def create_request(text: DeploymentText) -> deployment_service_pb2.CreateDeploymentRequest:
    """Return the request that makes the deployment; one without a request id gets a fresh one."""
    return deployment_service_pb2.CreateDeploymentRequest(
        request_id=text.request_id or str(uuid4()),
        spec=deployment_spec(text),
        env=dict(text.env),
    )


def deployment_spec(text: DeploymentText) -> deployments_pb2.DeploymentSpec:
    """Return what is asked for, as far as it is said."""
    return deployments_pb2.DeploymentSpec(
        name=text.name,
        type=deployments_pb2.ServiceType.Value(f"SERVICE_TYPE_{text.type.upper()}"),
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
        restart=deployments_pb2.RestartPolicy.Value(
            f"RESTART_POLICY_{text.restart.upper().replace('-', '_')}"
        ),
        labels=dict(text.labels),
        allow_colocation=text.allow_colocation,
        rollout=_rollout(text.rollout),
        disconnect=_disconnect(text.disconnect),
        container=container_message(text.container, text.name),
    )


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
