"""What the agent counts, over all nodes of the process."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

STREAMS = Gauge("fog_agent_streams", "Streams to gateways that were welcomed and are open.")
STREAM_FAILURES = Counter("fog_agent_stream_failures", "Streams that broke or were not welcomed.")
SAVES = Counter("fog_agent_saves", "Writes to disk, each of one batch of stimuli.")
REPORTS = Counter("fog_agent_reports", "Reports sent, those sent again included.")
IMAGES_REMOVED = Counter("fog_agent_images_removed", "Images removed because the disk was full.")
ENGINE_DISK_PERCENT = Gauge(
    "fog_agent_engine_disk_percent", "Share of the engine's disk that is taken, 0 to 100."
)
REPLICA_CHANGES = Counter(
    "fog_agent_replica_changes", "Changes of replicas seen, by the state they got to.", ["state"]
)
