"""The ledger's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from fogbank.runtime.settings import DatabaseSettings, ListenAddress


class LedgerSettings(DatabaseSettings, frozen=True):
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

    grpc_listen: ListenAddress = ListenAddress("127.0.0.1:50053")
    query_connections: Annotated[int, Meta(ge=1, le=100)] = 8
    longest_wait_ms: Annotated[int, Meta(ge=0, le=600_000)] = 30_000
    checkpoint_dir: Path | None = None
    checkpoint_key_file: Path | None = None
    checkpoint_period_ms: Annotated[int, Meta(ge=100, le=24 * 3_600_000)] = 60_000

    scrub_period_ms: Annotated[int, Meta(ge=1_000, le=30 * 24 * 3_600_000)] = 6 * 3_600_000
    scrub_rate: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.checkpoint_dir is None) != (self.checkpoint_key_file is None):
            raise ValueError(
                "FOG_CHECKPOINT_DIR and FOG_CHECKPOINT_KEY_FILE go together: where checkpoints of "
                "the log are kept, and the keys that sign them"
            )
