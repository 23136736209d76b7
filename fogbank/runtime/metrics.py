"""Metrics over HTTP, for Prometheus: text or OpenMetrics, as the asker prefers.

Labels are bounded everywhere: methods, status codes and reasons, never ids or names of users.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
)

from fogbank.runtime.settings import host_and_port

GRPC_HANDLED = Counter(
    "fog_grpc_handled", "Calls answered, by method and code.", ["method", "code"]
)
GRPC_SECONDS = Histogram(
    "fog_grpc_seconds",
    "Time to answer a call; streams count from open to close.",
    ["method"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
GRPC_IN_FLIGHT = Gauge("fog_grpc_in_flight", "Calls being answered, by method.", ["method"])
LOOP_ALIVE = Gauge("fog_loop_alive", "1 while a named loop of the service runs.", ["loop"])


@contextmanager
def exposition(listen: str, registry: CollectorRegistry = REGISTRY) -> Iterator[int]:
    """Serve the metrics at `listen` (host:port, 0 for a free port) and yield the port.

    Raises:
        OSError: the address is taken or not ours.
    """
    host, port = host_and_port(listen)
    server, thread = start_http_server(port, host or "0.0.0.0", registry)  # noqa: S104 (as asked)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
