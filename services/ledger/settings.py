"""The ledger's settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fogbank.runtime.settings import DatabaseSettings, ListenAddress


class LedgerSettings(DatabaseSettings):
    """What the ledger reads from its environment, beside what all services have.

    `query_connections`: connections to the database for queries; the projection has three more.
    `longest_wait_ms`: how long a query waits for its `min_sequence` at most.
    """

    service: ClassVar[str] = "ledger"

    grpc_listen: ListenAddress = "127.0.0.1:50053"
    query_connections: int = Field(default=8, ge=1, le=100)
    longest_wait_ms: int = Field(default=30_000, ge=0, le=600_000)
