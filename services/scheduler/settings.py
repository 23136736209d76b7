"""The scheduler's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from fogbank.runtime.settings import Also, FleetSettings, ListenAddress


class SchedulerSettings(FleetSettings, frozen=True):
    """What the scheduler reads from its environment, beside what all services have.

    `ledger_addr`: whom to ask for the log's second copy before the first round.
    `takeover_ms`: how long work may lie undone before a scheduler that stands by steps in.
    `queue_timeout_s`: how long the queue goes unlooked at when nothing changes in the log.
    """

    service: ClassVar[str] = "scheduler"

    grpc_listen: ListenAddress = ListenAddress("127.0.0.1:50052")
    ledger_addr: ListenAddress = ListenAddress("127.0.0.1:50053")
    takeover_ms: Annotated[int, Meta(ge=10, le=600_000)] = 1_000
    queue_timeout_s: Annotated[float, Meta(ge=0.01, le=3_600), Also("QUEUE_TIMEOUT")] = 3_600
