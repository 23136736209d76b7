"""`fog token` against a server that answers what it is told."""

from __future__ import annotations

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from fogbank.cli.main import run
from fogbank.v1 import token_service_pb2 as pb
from fogbank.v1 import token_service_pb2_grpc

CI = pb.ApiToken(
    id="11111111-1111-4111-8111-111111111111",
    account_id="22222222-2222-4222-8222-222222222222",
    account="ci",
    organization_id=2,
    scopes=[pb.TOKEN_SCOPE_DEPLOY, pb.TOKEN_SCOPE_NODES],
    created_at=Timestamp(seconds=1),
    expires_at=Timestamp(seconds=1 << 33),
)


class Tokens(token_service_pb2_grpc.TokenServiceServicer):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def CreateToken(
        self, request: pb.CreateTokenRequest, context: grpc.ServicerContext
    ) -> pb.CreateTokenResponse:
        self.requests.append(request)
        return pb.CreateTokenResponse(secret="fogtok_secret", token=CI)

    def ListTokens(
        self, request: pb.ListTokensRequest, context: grpc.ServicerContext
    ) -> pb.ListTokensResponse:
        self.requests.append(request)
        ended = pb.ApiToken(id="3", account="old", expires_at=Timestamp(seconds=2))
        revoked = pb.ApiToken(id="4", account="bad", revoked_at=Timestamp(seconds=2))
        return pb.ListTokensResponse(tokens=[CI, ended, revoked])

    def RevokeToken(
        self, request: pb.RevokeTokenRequest, context: grpc.ServicerContext
    ) -> pb.RevokeTokenResponse:
        self.requests.append(request)
        return pb.RevokeTokenResponse(token=CI)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Tokens]:
    tokens, running = Tokens(), grpc.server(ThreadPoolExecutor(2))
    token_service_pb2_grpc.add_TokenServiceServicer_to_server(tokens, running)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("FOG_ADDR", f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}")
    monkeypatch.setenv("FOG_TOKEN", "the-token")
    running.start()
    yield tokens
    running.stop(None).wait()


def test_a_token_is_made_and_shown_once(server: Tokens, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["token", "create", "ci", "--org", "2", "--scope", "deploy", "--scope", "nodes"]
    assert run([*arguments, "--ttl", "7d"]) == 0
    out = capsys.readouterr().out
    assert "FOG_TOKEN=fogtok_secret" in out
    (request,) = server.requests
    assert (request.name, request.organization_id) == ("ci", 2)
    assert list(request.scopes) == [pb.TOKEN_SCOPE_DEPLOY, pb.TOKEN_SCOPE_NODES]
    assert request.lifetime.seconds == 7 * 24 * 3600
    assert request.request_id
    assert run([*arguments, "-o", "name"]) == 0
    assert capsys.readouterr().out == "fogtok_secret\n"
    assert server.requests[-1].lifetime.seconds == 90 * 24 * 3600


def test_tokens_are_listed_with_their_state_and_without_secrets(
    server: Tokens, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "ls", "--org", "2", "-o", "json"]) == 0
    out = capsys.readouterr().out
    rows = json.loads(out)
    states = [(row["account"], row["state"]) for row in rows]
    assert states == [("ci", "works"), ("old", "expired"), ("bad", "revoked")]
    assert rows[0]["scopes"] == "deploy,nodes"
    assert rows[0]["last_used_at"] is None
    assert "fogtok_" not in out


def test_a_token_is_revoked(server: Tokens, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["token", "revoke", "1111", "--org", "2"]) == 0
    assert server.requests == [pb.RevokeTokenRequest(organization_id=2, token_id="1111")]
    assert "of ci revoked" in capsys.readouterr().out


def test_a_scope_that_is_none_is_refused(
    server: Tokens, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["token", "create", "ci", "--org", "2", "--scope", "all"]) == 64
    assert "must be one of read, deploy, nodes, audit, admin, got 'all'" in capsys.readouterr().err
    assert not server.requests
