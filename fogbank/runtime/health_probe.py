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
from pathlib import Path
from typing import Any

from fogbank.runtime.settings import host_and_port

_TIMEOUT_S = 3.0
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 (it is what a service may listen on)


def probe(environment: Mapping[str, str]) -> str:
    """Return what is wrong with the service that has this environment, or nothing."""
    if listen := environment.get("FOG_GRPC_LISTEN"):
        return _grpc(_reachable(listen), environment)
    if listen := environment.get("FOG_METRICS_LISTEN"):
        return _http(f"http://{_reachable(listen)}/metrics")
    return "neither FOG_GRPC_LISTEN nor FOG_METRICS_LISTEN is set"


def _reachable(listen: str) -> str:
    host, port = host_and_port(listen)
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _grpc(address: str, environment: Mapping[str, str]) -> str:
    import grpc  # noqa: PLC0415 (the other probe does without)
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    try:
        credentials = _credentials(environment)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    with (
        grpc.insecure_channel(address)
        if credentials is None
        else grpc.secure_channel(address, credentials)
    ) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            return f"{address}: {error.code().name}"
    if answer.status == health_pb2.HealthCheckResponse.SERVING:
        return ""
    return f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"


def _credentials(environment: Mapping[str, str]) -> Any:
    """Return how to call a service that has its own certificate, showing that; None without."""
    import grpc  # noqa: PLC0415 (as above)

    def content(name: str) -> bytes | None:
        return Path(environment[name]).read_bytes() if environment.get(name) else None

    if folder := environment.get("FOG_CA_DIR"):
        return grpc.ssl_channel_credentials((Path(folder) / "ca.crt").read_bytes())
    if not environment.get("FOG_TLS_CERT"):
        return None
    certificate = content("FOG_TLS_CERT")
    roots = content("FOG_TLS_CA") or certificate
    return grpc.ssl_channel_credentials(roots, content("FOG_TLS_KEY"), certificate)


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
