"""The scheduler's settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import AliasChoices, Field

from fogbank.runtime.settings import FleetSettings, ListenAddress


class SchedulerSettings(FleetSettings):
    """What the scheduler reads from its environment, beside what all services have.

    `ledger_addr`: whom to ask for the log's second copy before the first round.
    `takeover_ms`: how long work may lie undone before a scheduler that stands by steps in.
    `queue_timeout_s`: how long the queue goes unlooked at when nothing changes in the log.
    """

    service: ClassVar[str] = "scheduler"

    grpc_listen: ListenAddress = "127.0.0.1:50052"
    ledger_addr: ListenAddress = "127.0.0.1:50053"
    takeover_ms: int = Field(default=1_000, ge=10, le=600_000)
    queue_timeout_s: float = Field(
        default=3_600,
        ge=0.01,
        le=3_600,
        validation_alias=AliasChoices("FOG_QUEUE_TIMEOUT_S", "QUEUE_TIMEOUT", "queue_timeout_s"),
    )
