"""What the ledger counts."""

from __future__ import annotations

from prometheus_client import Gauge, Histogram

POSITION = Gauge("fog_ledger_position", "Sequence of the last commit in the tables")
LAG = Gauge("fog_ledger_lag_events", "Commits known to be in the log and not yet in the tables")
LAG_SECONDS = Gauge(
    "fog_ledger_lag_seconds", "For how long a commit has been in the log and not in the tables"
)
REWRITTEN = Gauge(
    "fog_ledger_log_rewritten",
    "1 while the log does not begin with what was signed of it, so that nothing more is signed",
)
SCRUB_POSITION = Gauge("fog_ledger_scrub_position", "Sequence that the scrub under way is at")
SCRUB_ENDED = Gauge(
    "fog_ledger_scrub_ended_seconds", "When the last scrub ended, in seconds since 1970"
)
SCRUB_FINDINGS = Gauge(
    "fog_ledger_scrub_findings", "Commits that the last scrub found not to be as they were"
)
REPLICAS = Gauge("fog_replicas", "Replicas by public state", ["state"])
NODES = Gauge("fog_nodes", "Nodes by status", ["status"])
BATCH_COMMITS = Histogram(
    "fog_ledger_batch_commits",
    "Commits per transaction",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000),
)
WRITE_SECONDS = Histogram(
    "fog_ledger_write_seconds",
    "Time of a transaction",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
