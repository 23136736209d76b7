"""What the agent counts, over all nodes of the process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

STREAMS = Gauge("fog_agent_streams", "Streams to gateways that were welcomed and are open.")
STREAM_FAILURES = Counter("fog_agent_stream_failures", "Streams that broke or were not welcomed.")
SAVES = Counter("fog_agent_saves", "Writes to disk, each of one batch of stimuli.")
REPORTS = Counter("fog_agent_reports", "Reports sent, those sent again included.")
REPLICA_CHANGES = Counter(
    "fog_agent_replica_changes", "Changes of replicas seen, by the state they got to.", ["state"]
)
