"""The ledger's settings."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, model_validator

from fogbank.runtime.settings import DatabaseSettings, ListenAddress


class LedgerSettings(DatabaseSettings):
    """What the ledger reads from its environment, beside what all services have.

    `query_connections`: connections to the database for queries; the projection has three more.
    `longest_wait_ms`: how long a query waits for its `min_sequence` at most.
    `checkpoint_dir`: where signed checkpoints of the log are kept, best on a disk that neither the
    broker nor the database has; none are signed without it.
    `checkpoint_key_file`: the keys that sign them; made if it isn't there.
    `checkpoint_period_ms`: how often one is signed while the log grows.
    `scrub_period_ms`: the pause between two scrubs of the log and its copy; the first is at the
    start. `scrub_rate`: so many commits of each are read in a second at most.
    """

    service: ClassVar[str] = "ledger"

    grpc_listen: ListenAddress = "127.0.0.1:50053"
    query_connections: int = Field(default=8, ge=1, le=100)
    longest_wait_ms: int = Field(default=30_000, ge=0, le=600_000)
    checkpoint_dir: Path | None = None
    checkpoint_key_file: Path | None = None
    checkpoint_period_ms: int = Field(default=60_000, ge=100, le=24 * 3_600_000)

    scrub_period_ms: int = Field(default=6 * 3_600_000, ge=1_000, le=30 * 24 * 3_600_000)
    scrub_rate: int = Field(default=1_000, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _check_checkpoints(self) -> Self:
        if (self.checkpoint_dir is None) != (self.checkpoint_key_file is None):
            raise ValueError(
                "FOG_CHECKPOINT_DIR and FOG_CHECKPOINT_KEY_FILE go together: where checkpoints of "
                "the log are kept, and the keys that sign them"
            )
        return self
