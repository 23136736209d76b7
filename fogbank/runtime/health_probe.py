"""Is the service here well? `python -m fogbank.runtime.health_probe` exits with 0 or 1.

Asks the standard gRPC health service where FOG_GRPC_LISTEN says, or, for a service without one,
whether metrics are served where FOG_METRICS_LISTEN says. Reads the service's own environment, so
that the check and the service can't disagree about the port.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from fogbank.runtime.settings import host_and_port

_TIMEOUT_S = 3.0
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (it is what a service may listen on)


def probe(environment: Mapping[str, str]) -> str:
    """Return what is wrong with the service that has this environment, or nothing."""
    if listen := environment.get("FOG_GRPC_LISTEN"):
        return _grpc(_reachable(listen))
    if listen := environment.get("FOG_METRICS_LISTEN"):
        return _http(f"http://{_reachable(listen)}/metrics")
    return "neither FOG_GRPC_LISTEN nor FOG_METRICS_LISTEN is set"


def _reachable(listen: str) -> str:
    host, port = host_and_port(listen)
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _grpc(address: str) -> str:
    import grpc  # noqa: PLC0415 (the other probe does without)
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel(address) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            return f"{address}: {error.code().name}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"


def _http(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310 (always http)
            return ""
    except (urllib.error.URLError, OSError) as error:
        return f"{url}: {error}"


def main() -> None:
    """Probe, and say what is wrong."""
    problem = probe(os.environ)
    if problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
