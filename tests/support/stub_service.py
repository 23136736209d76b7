"""Stands for one of the services: healthy at once, and knows nothing.

`python -m tests.support.stub_service SERVICE` with the settings that the real one gets.
FOG_STUB_FAIL names a service that ends at once with an error.
"""

import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fogbank.local.fleet import default_fleet
from fogbank.v1 import (
    identity_service_pb2,
    identity_service_pb2_grpc,
    node_service_pb2,
    node_service_pb2_grpc,
    nodes_pb2,
)


class _Identity(identity_service_pb2_grpc.IdentityServiceServicer):
    def Login(
        self, request: identity_service_pb2.LoginRequest, context: grpc.ServicerContext
    ) -> identity_service_pb2.LoginResponse:
        answer = identity_service_pb2.LoginResponse()
        answer.tokens.access_token = "stub"
        return answer


class _Nodes(node_service_pb2_grpc.NodeServiceServicer):
    def ListNodes(
        self, request: node_service_pb2.ListNodesRequest, context: grpc.ServicerContext
    ) -> node_service_pb2.ListNodesResponse:
        count = int(os.environ.get("FOG_STUB_NODES", "8"))
        answer = node_service_pb2.ListNodesResponse()
        for node in default_fleet(count):
            listed = answer.nodes.add(name=node.name, status=nodes_pb2.NODE_STATUS_IDLE)
            listed.connected_at.GetCurrentTime()
        return answer


class _Readiness(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readiness" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def log(level: str, event: str) -> None:
    sys.stdout.write(json.dumps({"level": level, "event": event}) + "\n")
    sys.stdout.flush()


def main(service: str) -> int:
    if os.environ.get("FOG_STUB_FAIL") == service:
        log("ERROR", "no luck today")
        return 3
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    if service != "node_agent":
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        checks = health.HealthServicer()
        checks.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        if service == "gateway":
            identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(
                _Identity(),  # type: ignore[abstract]  # the other calls aren't made
                server,
            )
            node_service_pb2_grpc.add_NodeServiceServicer_to_server(
                _Nodes(),  # type: ignore[abstract]  # as above
                server,
            )
            host, _, port = os.environ["FOG_HTTP_LISTEN"].rpartition(":")
            pages = ThreadingHTTPServer((host, int(port)), _Readiness)
            threading.Thread(target=pages.serve_forever, daemon=True).start()
        server.add_insecure_port(os.environ["FOG_GRPC_LISTEN"])
        server.start()
    log("INFO", "started")
    ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
