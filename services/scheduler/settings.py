"""The scheduler's settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fogbank.runtime.settings import FleetSettings, ListenAddress


class SchedulerSettings(FleetSettings):
    """What the scheduler reads from its environment, beside what all services have.

    `ledger_addr`: whom to ask for the log's second copy before the first round.
    `takeover_ms`: how long work may lie undone before a scheduler that stands by steps in.
    """

    service: ClassVar[str] = "scheduler"

    grpc_listen: ListenAddress = "127.0.0.1:50052"
    ledger_addr: ListenAddress = "127.0.0.1:50053"
    takeover_ms: int = Field(default=1_000, ge=10, le=600_000)
