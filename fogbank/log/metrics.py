"""What the log's writers and readers count."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

COMMITS = Counter("fog_log_commits", "Commits appended by this process.")
EVENTS = Counter("fog_log_events", "Events appended by this process.")
REFUSALS = Counter(
    "fog_log_refusals", "Appends that were refused or left in doubt, by reason.", ["reason"]
)
BACKLOG = Gauge("fog_log_backlog_bytes", "Bytes of events that wait for the next commit.")
FILL_RATIO = Gauge(
    "fog_log_fill_ratio", "How full the log is; from 1 on the broker refuses appends."
)
APPEND_SECONDS = Histogram(
    "fog_log_append_seconds",
    "Time from sending a commit to its confirmation.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
