"""Bodies of requests as the contract names them. Types only: bounds are the core's to judge, and
stand here for the OpenAPI document.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from fogbank.domain.deployment import (
    DEFAULT_CLUSTER_ID,
    DEFAULT_REGION,
    PRIORITY_WORDS,
    Constraint,
    DisconnectRules,
    RolloutSpec,
)
from fogbank.domain.states import ConstraintOperator, RestartPolicy, ServiceType
from services.gateway.app.identity import (
    MAX_PASSWORD,
    MAX_REFRESH_TOKEN,
    MAX_USERNAME,
    MIN_PASSWORD,
    MIN_USERNAME,
)
from services.gateway.core import asks
from services.gateway.core.asks import Ask
from services.gateway.core.bounds import REST_BOUNDS, Amount
from services.gateway.core.disconnecting import MAX_DISCONNECT_MS, MIN_LOST_MS, MIN_STOP_MS
from services.gateway.http_api.bodies import Body, examples
from services.gateway.http_api.container_models import ContainerBody

TYPES = [member.name.lower() for member in ServiceType]
OPERATORS = {member.name.lower(): member for member in ConstraintOperator}
RESTARTS = {member.name.lower().replace("_", "-"): member for member in RestartPolicy}
WHOLE_GPU = 1000
MILLICORES = 1000
_ROLLOUT = RolloutSpec()


def within(amount: Amount) -> Any:
    """Return the bounds of an amount, for the OpenAPI document."""
    low, high = amount.low / amount.scale, amount.high / amount.scale
    whole = low == int(low) and high == int(high)
    return {
        "minimum": int(low) if whole else low,
        "maximum": int(high) if whole else high,
    }


def texts(shortest: int, longest: int) -> Any:
    """Return the bounds of a text's length, for the OpenAPI document."""
    return {"minLength": shortest, "maxLength": longest}


def _priority(given: Any) -> Any:
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        words = ", ".join(PRIORITY_WORDS)
        raise PydanticCustomError("wanted", f"must be 0 to {asks.MAX_PRIORITY} or one of {words}")
    return given


Type = Annotated[Any, WithJsonSchema({"type": "string", "enum": TYPES})]
Priority = Annotated[
    Any,
    AfterValidator(_priority),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": asks.MAX_PRIORITY},
                {"type": "string", "pattern": f"^(?i:{'|'.join(PRIORITY_WORDS)})$"},
            ]
        }
    ),
]
_Restart = Literal["always", "on-failure", "never"]
_Operator = Literal["equal", "not_equal", "in", "exists"]


class ResourcesBody(Body):
    """What each replica gets."""

    cpu: float = Field(description="Cores.", json_schema_extra=within(REST_BOUNDS.cpu))
    memory: int = Field(description="MB.", json_schema_extra=within(REST_BOUNDS.memory))
    gpu: int = Field(0, description="Whole GPUs.", json_schema_extra=within(REST_BOUNDS.gpu))
    storage: int = Field(10, description="GB.", json_schema_extra=within(REST_BOUNDS.storage))


class ConstraintBody(Body):
    """A demand on nodes."""

    attribute: str = Field(
        description="`region`, `arch`, `node` or `label.<key>`.",
        json_schema_extra=texts(1, 6 + asks.MAX_LABEL_KEY),
    )
    operator: _Operator
    values: list[str] = Field(
        default=[], description="One for `equal` and `not_equal`, none for `exists`."
    )


def _time_from(least_ms: int) -> dict[str, Any]:
    return {"anyOf": [{"const": 0}, {"minimum": least_ms, "maximum": MAX_DISCONNECT_MS}]}


class DisconnectBody(Body):
    """What becomes of replicas whose node is cut off; times in milliseconds."""

    lost_after_ms: int = Field(
        0,
        description="Replaced elsewhere after; 0: as the policy says.",
        json_schema_extra=_time_from(MIN_LOST_MS),
    )
    replace: bool = Field(default=True, description="False: each waits for its node.")
    stop_on_client_after_ms: int = Field(
        0,
        description="Stopped by their own node after; 0: never.",
        json_schema_extra=_time_from(MIN_STOP_MS),
    )

    def rules(self) -> DisconnectRules:
        """Return the rules."""
        return DisconnectRules(self.lost_after_ms, self.replace, self.stop_on_client_after_ms)


class RolloutBody(Body):
    """How updates replace replicas; times in milliseconds."""

    max_surge: int = Field(
        _ROLLOUT.max_surge,
        description="So many more than wanted may run meanwhile.",
        json_schema_extra={"minimum": 0, "maximum": asks.MAX_ROLLOUT_STEP},
    )
    max_unavailable: int = Field(
        _ROLLOUT.max_unavailable,
        description="So many fewer than wanted may be well; not 0 if `max_surge` is.",
        json_schema_extra={"minimum": 0, "maximum": asks.MAX_ROLLOUT_STEP},
    )
    min_healthy_ms: int = Field(
        _ROLLOUT.min_healthy_ms,
        description="A new replica is well once it ran healthily for so long.",
        json_schema_extra={"minimum": 0, "maximum": asks.MAX_ROLLOUT_MS},
    )
    progress_deadline_ms: int = Field(
        _ROLLOUT.progress_deadline_ms,
        description="A new replica that isn't well by then has failed; above `min_healthy_ms`.",
        json_schema_extra={"minimum": 0, "maximum": asks.MAX_ROLLOUT_MS},
    )
    auto_rollback: bool = Field(
        default=_ROLLOUT.auto_rollback, description="Go back by itself when the new ones fail."
    )

    def rules(self, before: RolloutSpec = _ROLLOUT) -> RolloutSpec:
        """Return the rules: those given, the others as they were before."""
        return replace(before, **self.model_dump(exclude_unset=True))


class DeployBody(Body):
    """A deployment to make."""

    model_config = examples(
        {
            "name": "web-api",
            "type": "compute",
            "container_image": "nginx:1.27",
            "replicas": 3,
            "resources": {"cpu": 2.0, "memory": 2048, "gpu": 0, "storage": 20},
            "env": {"LOG_LEVEL": "info"},
            "region": "us-east",
            "priority": "high",
        }
    )

    name: str = Field(json_schema_extra=texts(1, asks.MAX_NAME))
    type: Type
    container_image: str = Field(json_schema_extra=texts(1, asks.MAX_IMAGE))
    replicas: int = Field(json_schema_extra=within(REST_BOUNDS.replicas))
    resources: ResourcesBody
    env: dict[str, str] = Field(
        default={}, description="Environment of the containers; kept sealed, never returned."
    )
    region: str = Field(DEFAULT_REGION, json_schema_extra=texts(1, 63))
    priority: Priority = Field("medium", description="A number, or a word in any case.")
    cluster_id: int = Field(DEFAULT_CLUSTER_ID, json_schema_extra={"minimum": 1})
    strategy: str = Field("", description="Empty for the policy's own.")
    wait_for_capacity: bool = Field(
        default=False, description="Wait instead of failing when there is no room."
    )
    constraints: list[ConstraintBody] = Field(
        default=[], json_schema_extra={"maxItems": asks.MAX_CONSTRAINTS}
    )
    gpu_model: str = Field("", json_schema_extra=texts(0, asks.MAX_NAME))
    restart: _Restart = "always"
    labels: dict[str, str] = Field(default={}, json_schema_extra={"maxProperties": asks.MAX_LABELS})
    rollout: RolloutBody = RolloutBody()
    disconnect: DisconnectBody = DisconnectBody()
    container: ContainerBody = ContainerBody()
    request_id: str = Field(
        "",
        description="Makes a repeat safe: the same id gets the same answer.",
        json_schema_extra=texts(0, asks.MAX_REQUEST_ID),
    )

    def ask(self) -> Ask:
        """Return what is asked for, in the system's units."""
        return Ask(
            name=self.name,
            type=self.type if isinstance(self.type, str) else "",
            container_image=self.container_image,
            replicas=self.replicas,
            cpu_millicores=self.resources.cpu * MILLICORES,
            memory_mib=self.resources.memory,
            storage_gib=self.resources.storage,
            gpu_thousandths=self.resources.gpu * WHOLE_GPU,
            region=self.region,
            priority=self.priority,
            cluster_id=self.cluster_id,
            strategy=self.strategy,
            wait_for_capacity=self.wait_for_capacity,
            constraints=tuple(
                Constraint(each.attribute, OPERATORS[each.operator], tuple(each.values))
                for each in self.constraints
            ),
            gpu_model=self.gpu_model,
            restart=RESTARTS[self.restart],
            labels=self.labels,
            rollout=self.rollout.rules(),
            disconnect=self.disconnect.rules(),
            container=self.container.spec(),
            env=self.env,
        )


class ScaleBody(Body):
    """A new number of replicas."""

    model_config = examples({"replicas": 5})

    replicas: int = Field(
        description="At least 1 (deleting it stops all); more than this face's most over gRPC.",
        json_schema_extra=within(REST_BOUNDS.replicas),
    )
    request_id: str = Field(
        "",
        description="Makes a repeat safe: the same id gets the same answer.",
        json_schema_extra=texts(0, asks.MAX_REQUEST_ID),
    )


class RegisterBody(Body):
    """An account to make."""

    model_config = examples({"username": "alice", "password": "correct horse battery"})

    username: str = Field(json_schema_extra=texts(MIN_USERNAME, MAX_USERNAME))
    password: str = Field(json_schema_extra=texts(MIN_PASSWORD, MAX_PASSWORD))


class LoginBody(Body):
    """A name and its password."""

    model_config = examples({"username": "alice", "password": "correct horse battery"})

    username: str
    password: str


class RefreshBody(Body):
    """A refresh token to trade; it is used up."""

    model_config = examples({"refresh_token": "3q2-7wAbCdEfGhIjKlMnOpQrStUvWxYz"})

    refresh_token: str = Field(json_schema_extra=texts(1, MAX_REFRESH_TOKEN))


BODIES: tuple[type[Body], ...] = (DeployBody, ScaleBody, RegisterBody, LoginBody, RefreshBody)
