"""The gateway's settings."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta
from msgspec.structs import force_setattr

from fogbank.domain.bounds import MOST_REPLICAS_ASKED
from fogbank.domain.policy import Policy
from fogbank.domain.policy_bounds import MAX_AMOUNT
from fogbank.runtime.settings import (
    Also,
    DatabaseSettings,
    ListenAddress,
    Read,
    Secret,
    environment,
    separated,
)
from services.gateway.app.handshakes import AT_ONCE
from services.gateway.app.identity import DENIALS_MAX_AGE_S
from services.gateway.app.limits import Allowance
from services.gateway.app.queue_room import MOST, SHARE
from services.gateway.core.bounds import Bounds, grpc_bounds

_DEFAULT_HTTP = ListenAddress("127.0.0.1:8000")
_DEFAULT_HTTP_PORT = "8000"


def _networks(text: str) -> tuple[str, ...]:
    """Read networks as `separated` does, each of them one."""
    networks = separated(text)
    for network in networks:
        ip_network(network)
    return networks


class AccountsSettings(DatabaseSettings, frozen=True):
    """What work on the gateway's own tables needs, and nothing else."""

    service: ClassVar[str] = "gateway"

    sealing_key: Secret = Secret("")


class GatewaySettings(DatabaseSettings, frozen=True):
    """What the gateway reads from its environment, beside what all services have.

    The policy's settings (weights, heartbeats, delays) seed the first policy of an empty log and
    mean nothing after that. Spans are in milliseconds (`_ms`), minutes or hours as the name says.
    """

    service: ClassVar[str] = "gateway"

    grpc_listen: ListenAddress = ListenAddress("127.0.0.1:50051")
    http_listen: ListenAddress = _DEFAULT_HTTP
    trusted_proxies: Annotated[tuple[str, ...], Read(_networks)] = ()
    http_metrics: bool = True
    ledger_addr: ListenAddress = ListenAddress("127.0.0.1:50053")
    scheduler_addr: ListenAddress = ListenAddress("127.0.0.1:50052")

    jwt_secret: Annotated[Secret, Also("JWT_SECRET")] = Secret("")
    jwt_algorithm: Annotated[Literal["HS256", "HS384", "HS512"], Also("JWT_ALGORITHM")] = "HS256"
    jwt_expire_minutes: Annotated[int, Meta(ge=1, le=1440), Also("JWT_EXPIRE_MINUTES")] = 30
    refresh_expire_hours: Annotated[int, Meta(ge=1, le=8760)] = 720
    denials_max_age_s: Annotated[float, Meta(ge=60, le=86_400)] = DENIALS_MAX_AGE_S
    # What a password's hash costs; cheap ones are for tests.
    password_time_cost: Annotated[int, Meta(ge=1, le=100)] = 3
    password_memory_kib: Annotated[int, Meta(ge=8, le=4 * 1024 * 1024)] = 64 * 1024
    password_parallelism: Annotated[int, Meta(ge=1, le=64)] = 4
    password_threads: Annotated[int, Meta(ge=1, le=64)] = 2
    agent_token: Secret = Secret("")
    ca_dir: Path | None = None
    agent_listen: ListenAddress = ListenAddress("127.0.0.1:50054")
    tls_names: Annotated[tuple[str, ...], Read(separated)] = ()
    agent_certificate_s: Annotated[int, Meta(ge=5, le=366 * 24 * 3600)] = 30 * 24 * 3600
    sealing_key: Secret = Secret("")
    admin_user: str = "admin"
    admin_password: Secret | None = None

    max_pending: Annotated[int, Meta(ge=1)] = MOST
    max_pending_share: Annotated[float, Meta(gt=0, le=1)] = SHARE
    max_replicas: Annotated[int, Meta(ge=1, le=MOST_REPLICAS_ASKED)] = 1_000
    max_cpu_millicores: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)] = 1_024_000
    max_memory_mib: Annotated[int, Meta(ge=1, le=MAX_AMOUNT)] = 16 * 1024 * 1024
    max_storage_gib: Annotated[int, Meta(ge=0, le=MAX_AMOUNT)] = 1_000_000
    max_gpu_thousandths: Annotated[int, Meta(ge=0, le=MAX_AMOUNT)] = 64_000
    requests_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] = 500
    anonymous_requests_per_second: Annotated[float, Meta(gt=0, le=1_000_000)] = 50
    failed_sign_ins_per_minute: Annotated[float, Meta(gt=0, le=1_000_000)] = 10
    streams_per_user: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    anonymous_streams: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    agent_handshakes: Annotated[int, Meta(ge=1, le=100_000)] = AT_ONCE
    client_patience_s: Annotated[float, Meta(ge=1, le=3600)] = 30
    max_body_bytes: Annotated[int, Meta(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    kept_status_changes: Annotated[int, Meta(ge=1)] = 100_000
    database_connections: Annotated[int, Meta(ge=1, le=100)] = 5

    resource_weight: Annotated[float, Meta(ge=0, le=1), Also("RESOURCE_WEIGHT")] = 0.4
    load_weight: Annotated[float, Meta(ge=0, le=1), Also("LOAD_WEIGHT")] = 0.3
    locality_weight: Annotated[float, Meta(ge=0, le=1), Also("LOCALITY_WEIGHT")] = 0.3
    heartbeat_period_ms: Annotated[int, Meta(ge=50, le=600_000)] = 5_000
    lost_after_ms: Annotated[int, Meta(ge=100, le=86_400_000)] = 30_000
    reschedule_delay_ms: Annotated[int, Meta(ge=0, le=86_400_000)] = 30_000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._listen_where_the_documents_say()
        self._refuse_another_architecture()

    def _listen_where_the_documents_say(self) -> None:
        host, port = environment("API_HOST"), environment("API_PORT")
        if (host or port) and self.http_listen is _DEFAULT_HTTP:
            listen = ListenAddress(f"{host or '127.0.0.1'}:{port or _DEFAULT_HTTP_PORT}")
            force_setattr(self, "http_listen", listen)

    def _refuse_another_architecture(self) -> None:
        if (environment("ENABLE_SCHEDULER") or "").lower() in {"1", "true", "yes"}:
            raise ValueError(
                "ENABLE_SCHEDULER: a gateway has no scheduler inside; start "
                "`python -m services.scheduler.main`, or everything with `fog up`"
            )
        required = ("sealing_key",) if self.ca_dir else ("agent_token", "sealing_key")
        for name in required:
            if not getattr(self, name).reveal():
                raise ValueError(
                    f"FOG_{name.upper()} (or FOG_{name.upper()}_FILE) is missing: "
                    "make one with: openssl rand -hex 32"
                )

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
