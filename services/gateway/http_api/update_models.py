"""Bodies of updates: only what is given changes. Types only, as in `models`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from pydantic import ConfigDict, Field

from fogbank.domain.deployment import Constraint, DeploymentSpec
from services.gateway.core import asks
from services.gateway.core.asks import Ask
from services.gateway.core.bounds import REST_BOUNDS
from services.gateway.http_api.bodies import Body
from services.gateway.http_api.container_models import ContainerBody
from services.gateway.http_api.models import (
    MILLICORES,
    OPERATORS,
    RESTARTS,
    WHOLE_GPU,
    ConstraintBody,
    DisconnectBody,
    Priority,
    RolloutBody,
    Type,
    texts,
    within,
)

# Defaults are factories: what is not given stays as it is, and the document shows no default.


class UpdateResourcesBody(Body):
    """What each replica gets, as far as it changes."""

    cpu: float = Field(
        default_factory=float, description="Cores.", json_schema_extra=within(REST_BOUNDS.cpu)
    )
    memory: int = Field(
        default_factory=int, description="MB.", json_schema_extra=within(REST_BOUNDS.memory)
    )
    gpu: int = Field(
        default_factory=int, description="Whole GPUs.", json_schema_extra=within(REST_BOUNDS.gpu)
    )
    storage: int = Field(
        default_factory=int, description="GB.", json_schema_extra=within(REST_BOUNDS.storage)
    )

    def changes(self) -> dict[str, Any]:
        """Return what changes of an ask."""
        amounts = {
            "cpu_millicores": ("cpu", self.cpu * MILLICORES),
            "memory_mib": ("memory", self.memory),
            "gpu_thousandths": ("gpu", self.gpu * WHOLE_GPU),
            "storage_gib": ("storage", self.storage),
        }
        return {
            name: amount
            for name, (given, amount) in amounts.items()
            if given in self.model_fields_set
        }


class UpdateBody(Body):
    """What changes of a deployment; what is not given stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "minProperties": 1,
            "examples": [
                {
                    "container_image": "nginx:1.25",
                    "resources": {"memory": 1024},
                    "rollout": {"max_unavailable": 1, "min_healthy_ms": 10000},
                }
            ],
        }
    )

    name: str = Field(default_factory=str, json_schema_extra=texts(1, asks.MAX_NAME))
    type: Type = Field(default_factory=str)
    container_image: str = Field(default_factory=str, json_schema_extra=texts(1, asks.MAX_IMAGE))
    replicas: int = Field(default_factory=int, json_schema_extra=within(REST_BOUNDS.replicas))
    resources: UpdateResourcesBody = Field(default_factory=UpdateResourcesBody)
    env: dict[str, str] = Field(
        default_factory=dict,
        description="The whole environment; kept sealed, never returned.",
    )
    region: str = Field(default_factory=str, json_schema_extra=texts(1, 63))
    priority: Priority = Field(default_factory=str, description="A number, or a word in any case.")
    cluster_id: int = Field(
        default_factory=int,
        description="Moves it to this cluster.",
        json_schema_extra=within(asks.CLUSTER),
    )
    strategy: str = Field(default_factory=str, description="Empty for the policy's own.")
    wait_for_capacity: bool = Field(default_factory=bool)
    constraints: list[ConstraintBody] = Field(
        default_factory=list, json_schema_extra={"maxItems": asks.MAX_CONSTRAINTS}
    )
    gpu_model: str = Field(default_factory=str, json_schema_extra=texts(0, asks.MAX_NAME))
    restart: Literal["always", "on-failure", "never"] = Field(default_factory=lambda: "always")
    labels: dict[str, str] = Field(
        default_factory=dict, json_schema_extra={"maxProperties": asks.MAX_LABELS}
    )
    rollout: RolloutBody = Field(
        default_factory=RolloutBody, description="Those of its rules that are given."
    )
    disconnect: DisconnectBody = Field(default_factory=DisconnectBody, description="All its rules.")
    container: ContainerBody = Field(
        default_factory=ContainerBody, description="All that is asked of it."
    )
    request_id: str = Field(
        default_factory=str,
        description="Makes a repeat safe: the same id gets the same answer.",
        json_schema_extra=texts(0, asks.MAX_REQUEST_ID),
    )

    @property
    def changes_nothing(self) -> bool:
        """Whether no field of a deployment is given."""
        return not self.model_fields_set - {"request_id"}

    @property
    def content(self) -> dict[str, Any]:
        """What was asked, the same for every repeat; no environment values."""
        return self.model_dump(mode="json", exclude={"env", "request_id"}, exclude_unset=True)

    def ask(self, spec: DeploymentSpec) -> Ask:
        """Return what a deployment comes to with the changes."""
        taken = {
            "name": self.name,
            "type": self.type if isinstance(self.type, str) else "",
            "container_image": self.container_image,
            "replicas": self.replicas,
            "env": self.env,
            "region": self.region,
            "priority": self.priority,
            "strategy": self.strategy,
            "wait_for_capacity": self.wait_for_capacity,
            "constraints": tuple(
                Constraint(each.attribute, OPERATORS[each.operator], tuple(each.values))
                for each in self.constraints
            ),
            "gpu_model": self.gpu_model,
            "restart": RESTARTS[self.restart],
            "labels": self.labels,
            "rollout": self.rollout.rules(spec.rollout),
            "disconnect": self.disconnect.rules(),
            "container": self.container.spec(),
        }
        if "cluster_id" in self.model_fields_set:
            taken["cluster_id"] = asks.checked_cluster(self.cluster_id)
        changed: dict[str, Any] = {
            name: value for name, value in taken.items() if name in self.model_fields_set
        }
        return replace(asks.ask_of(spec), **changed, **self.resources.changes())


class RollbackBody(Body):
    """Which revision to go back to."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"to_revision": 1}]})

    to_revision: int = Field(
        0,
        description="0 for the newest before that did not fail and is not like the present one.",
        json_schema_extra={"minimum": 0},
    )
    request_id: str = Field(
        "",
        description="Makes a repeat safe: the same id gets the same answer.",
        json_schema_extra=texts(0, asks.MAX_REQUEST_ID),
    )


UPDATE_BODIES: tuple[type[Body], ...] = (UpdateBody, RollbackBody)
