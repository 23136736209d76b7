"""The gateway's settings."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from fogbank.domain.bounds import MOST_REPLICAS_ASKED
from fogbank.domain.policy import Policy
from fogbank.domain.policy_bounds import MAX_AMOUNT
from fogbank.runtime.settings import DatabaseSettings, ListenAddress, separated
from services.gateway.app.handshakes import AT_ONCE
from services.gateway.app.identity import DENIALS_MAX_AGE_S
from services.gateway.app.limits import Allowance
from services.gateway.app.queue_room import MOST, SHARE
from services.gateway.core.bounds import Bounds, grpc_bounds

_DEFAULT_HTTP = "127.0.0.1:8000"
_DEFAULT_HTTP_PORT = "8000"


def _checked_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        ip_network(network)
    return networks


def _named(name: str, other: str) -> Any:
    """Let a setting have its name in the project's own style and one from elsewhere."""
    return AliasChoices(f"FOG_{name.upper()}", other, name)


class AccountsSettings(DatabaseSettings):
    """What work on the gateway's own tables needs, and nothing else."""

    service: ClassVar[str] = "gateway"

    sealing_key: SecretStr = SecretStr("")


class GatewaySettings(DatabaseSettings):
    """What the gateway reads from its environment, beside what all services have.

    The policy's settings (weights, heartbeats, delays) seed the first policy of an empty log and
    mean nothing after that. Spans are in milliseconds (`_ms`), minutes or hours as the name says.
    """

    service: ClassVar[str] = "gateway"

    grpc_listen: ListenAddress = "127.0.0.1:50051"
    http_listen: ListenAddress = _DEFAULT_HTTP
    trusted_proxies: Annotated[
        tuple[str, ...],
        NoDecode,
        BeforeValidator(separated),
        AfterValidator(_checked_networks),
    ] = ()
    ledger_addr: ListenAddress = "127.0.0.1:50053"
    scheduler_addr: ListenAddress = "127.0.0.1:50052"

    jwt_secret: SecretStr = Field(
        default=SecretStr(""), validation_alias=_named("jwt_secret", "JWT_SECRET")
    )
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = Field(
        default="HS256", validation_alias=_named("jwt_algorithm", "JWT_ALGORITHM")
    )
    jwt_expire_minutes: int = Field(
        default=30,
        ge=1,
        le=1440,
        validation_alias=_named("jwt_expire_minutes", "JWT_EXPIRE_MINUTES"),
    )
    refresh_expire_hours: int = Field(default=720, ge=1, le=8760)
    denials_max_age_s: float = Field(default=DENIALS_MAX_AGE_S, ge=60, le=86_400)
    # What a password's hash costs; cheap ones are for tests.
    password_time_cost: int = Field(default=3, ge=1, le=100)
    password_memory_kib: int = Field(default=64 * 1024, ge=8, le=4 * 1024 * 1024)
    password_parallelism: int = Field(default=4, ge=1, le=64)
    password_threads: int = Field(default=2, ge=1, le=64)
    agent_token: SecretStr = SecretStr("")
    ca_dir: Path | None = None
    agent_listen: ListenAddress = "127.0.0.1:50054"
    tls_names: Annotated[tuple[str, ...], NoDecode, BeforeValidator(separated)] = ()
    agent_certificate_s: int = Field(default=30 * 24 * 3600, ge=5, le=366 * 24 * 3600)
    sealing_key: SecretStr = SecretStr("")
    admin_user: str = "admin"
    admin_password: SecretStr | None = None

    max_pending: int = Field(default=MOST, ge=1)
    max_pending_share: float = Field(default=SHARE, gt=0, le=1)
    max_replicas: int = Field(default=1_000, ge=1, le=MOST_REPLICAS_ASKED)
    max_cpu_millicores: int = Field(default=1_024_000, ge=1, le=MAX_AMOUNT)
    max_memory_mib: int = Field(default=16 * 1024 * 1024, ge=1, le=MAX_AMOUNT)
    max_storage_gib: int = Field(default=1_000_000, ge=0, le=MAX_AMOUNT)
    max_gpu_thousandths: int = Field(default=64_000, ge=0, le=MAX_AMOUNT)
    requests_per_second: float = Field(default=500, gt=0, le=1_000_000)
    anonymous_requests_per_second: float = Field(default=50, gt=0, le=1_000_000)
    failed_sign_ins_per_minute: float = Field(default=10, gt=0, le=1_000_000)
    streams_per_user: int = Field(default=1_000, ge=1, le=1_000_000)
    anonymous_streams: int = Field(default=100, ge=1, le=1_000_000)
    agent_handshakes: int = Field(default=AT_ONCE, ge=1, le=100_000)
    client_patience_s: float = Field(default=30, ge=1, le=3600)
    max_body_bytes: int = Field(default=1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    kept_status_changes: int = Field(default=100_000, ge=1)
    database_connections: int = Field(default=5, ge=1, le=100)

    resource_weight: float = Field(
        default=0.4, ge=0, le=1, validation_alias=_named("resource_weight", "RESOURCE_WEIGHT")
    )
    load_weight: float = Field(
        default=0.3, ge=0, le=1, validation_alias=_named("load_weight", "LOAD_WEIGHT")
    )
    locality_weight: float = Field(
        default=0.3, ge=0, le=1, validation_alias=_named("locality_weight", "LOCALITY_WEIGHT")
    )
    heartbeat_period_ms: int = Field(default=5_000, ge=50, le=600_000)
    lost_after_ms: int = Field(default=30_000, ge=100, le=86_400_000)
    reschedule_delay_ms: int = Field(default=30_000, ge=0, le=86_400_000)

    @model_validator(mode="before")
    @classmethod
    def _listen_where_the_documents_say(cls, values: dict[str, Any]) -> dict[str, Any]:
        host, port = os.environ.get("API_HOST"), os.environ.get("API_PORT")
        if (host or port) and not values.get("http_listen"):
            listen = f"{host or '127.0.0.1'}:{port or _DEFAULT_HTTP_PORT}"
            values = values | {"http_listen": listen}
        return values

    @model_validator(mode="after")
    def _refuse_another_architecture(self) -> Self:
        if os.environ.get("ENABLE_SCHEDULER", "").lower() in {"1", "true", "yes"}:
            raise ValueError(
                "ENABLE_SCHEDULER: a gateway has no scheduler inside; start "
                "`python -m services.scheduler.main`, or everything with `fog up`"
            )
        required = ("sealing_key",) if self.ca_dir else ("agent_token", "sealing_key")
        for name in required:
            if not getattr(self, name).get_secret_value():
                raise ValueError(
                    f"FOG_{name.upper()} (or FOG_{name.upper()}_FILE) is missing: "
                    "make one with: openssl rand -hex 32"
                )
        return self

    @property
    def allowance(self) -> Allowance:
        """What each caller gets."""
        return Allowance(
            self.requests_per_second,
            self.anonymous_requests_per_second,
            self.failed_sign_ins_per_minute,
            self.streams_per_user,
            self.anonymous_streams,
        )

    @property
    def bounds(self) -> Bounds:
        """What the gRPC face takes."""
        return grpc_bounds(
            max_replicas=self.max_replicas,
            max_cpu_millicores=self.max_cpu_millicores,
            max_memory_mib=self.max_memory_mib,
            max_storage_gib=self.max_storage_gib,
            max_gpu_thousandths=self.max_gpu_thousandths,
        )

    @property
    def first_policy(self) -> Policy:
        """The policy that an empty log begins with."""
        return Policy(
            resource_weight=self.resource_weight,
            cpu_load_weight=self.load_weight / 2,
            memory_load_weight=self.load_weight / 2,
            locality_weight=self.locality_weight,
            heartbeat_period_ms=self.heartbeat_period_ms,
            lost_after_ms=self.lost_after_ms,
            reschedule_delay_ms=self.reschedule_delay_ms,
        )
