"""Tokens of a session that commands share and outlive: each refresh token is shown once."""

import fcntl
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from fogbank.cli import connection as connections
from fogbank.cli import event_commands
from fogbank.cli.failures import CommandError
from fogbank.cli.main import run
from fogbank.cli.session import Tokens, config_file, find_session, store_tokens
from fogbank.v1 import (
    audit_service_pb2,
    audit_service_pb2_grpc,
    identity_service_pb2_grpc,
    replica_service_pb2,
    replica_service_pb2_grpc,
)
from fogbank.v1 import identity_service_pb2 as pb

AN_ID = "11111111-1111-4111-8111-111111111111"
# So many tokens end while nothing more is written.
QUIET_TOKENS = 3


class Sessions(
    identity_service_pb2_grpc.IdentityServiceServicer,
    audit_service_pb2_grpc.AuditServiceServicer,
    replica_service_pb2_grpc.ReplicaServiceServicer,
):
    """One session: `number` tells its tokens apart, a token that is shown twice ends it."""

    def __init__(self) -> None:
        self.number = 0
        self.shown: list[str] = []
        self.locked: list[bool] = []
        self.ended = False
        self.answers = True
        self.expired = {"access-0"}
        self.calls: list[str] = []

    def RefreshToken(
        self, request: pb.RefreshTokenRequest, context: grpc.ServicerContext
    ) -> pb.RefreshTokenResponse:
        self.ended |= request.refresh_token in self.shown
        self.shown.append(request.refresh_token)
        self.locked.append(_is_locked())
        if not self.answers:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone before the answer")
        if self.ended:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Not authenticated")
        self.number += 1
        return pb.RefreshTokenResponse(
            tokens=pb.Tokens(
                access_token=f"access-{self.number}",
                refresh_token=f"refresh-{self.number}",
                expires_in=Duration(seconds=900),
            )
        )

    def ListMyOrganizations(
        self, request: pb.ListMyOrganizationsRequest, context: grpc.ServicerContext
    ) -> pb.ListMyOrganizationsResponse:
        self._check(context)
        return pb.ListMyOrganizationsResponse()

    def ReadEvents(
        self, request: audit_service_pb2.ReadEventsRequest, context: grpc.ServicerContext
    ) -> Iterator[audit_service_pb2.ReadEventsResponse]:
        self._check(context)
        after = request.after_sequence
        if after >= 2:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "that will do")
        yield audit_service_pb2.ReadEventsResponse(sequence=after + 1)
        self.expired.add(f"access-{self.number}")
        context.abort(grpc.StatusCode.UNAVAILABLE, "gone in between")

    def ReadLogs(
        self, request: replica_service_pb2.ReadLogsRequest, context: grpc.ServicerContext
    ) -> Iterator[replica_service_pb2.ReadLogsResponse]:
        self._check(context)
        if self.number <= QUIET_TOKENS:
            if self.number == 1:
                yield replica_service_pb2.ReadLogsResponse(data=b"%d lines\n" % request.tail)
            self.expired.add(f"access-{self.number}")
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Not authenticated")
        yield replica_service_pb2.ReadLogsResponse(data=b"and %d\n" % request.tail)

    def Exec(
        self, request: replica_service_pb2.ExecRequest, context: grpc.ServicerContext
    ) -> Iterator[replica_service_pb2.ExecResponse]:
        self._check(context)
        yield replica_service_pb2.ExecResponse(exit_code=7)

    def _check(self, context: grpc.ServicerContext) -> None:
        token = str(dict(context.invocation_metadata())["authorization"]).removeprefix("Bearer ")
        self.calls.append(token)
        if token in self.expired:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Not authenticated")

    def Logout(self, request: pb.LogoutRequest, context: grpc.ServicerContext) -> pb.LogoutResponse:
        self.ended = True
        return pb.LogoutResponse()


def _is_locked() -> bool:
    with config_file().with_name("config.json.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Sessions]:
    """A server, and a stored session there whose access token is about to end."""
    sessions = Sessions()  # type: ignore[abstract]  # the other calls aren't made
    running = grpc.server(ThreadPoolExecutor(2))
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(sessions, running)
    audit_service_pb2_grpc.add_AuditServiceServicer_to_server(sessions, running)
    for name in ("FOG_ADDR", "FOG_TOKEN", "FOG_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("FOG_DATA_DIR", str(tmp_path / "data"))
    address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    store_tokens(config_file(), address, "alice", Tokens("access-0", "refresh-0", 0))
    replica_service_pb2_grpc.add_ReplicaServiceServicer_to_server(sessions, running)
    running.start()
    yield sessions
    running.stop(None).wait()


def _token() -> str | None:
    with connections.connect() as connection:
        return connection.token


def test_who_comes_second_takes_the_tokens_of_who_was_first(
    server: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_session()
    assert _token() == "access-1"
    monkeypatch.setattr(connections, "find_session", lambda: before)
    assert _token() == "access-1"
    assert server.shown == ["refresh-0"]
    assert server.locked == [True], "nobody else refreshes meanwhile"


def test_a_refresh_that_is_not_answered_is_not_repeated(server: Sessions) -> None:
    server.answers = False
    with pytest.raises(grpc.RpcError):
        _token()
    assert server.shown == ["refresh-0"]


def test_a_login_elsewhere_in_the_meantime_is_not_overwritten(
    server: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = find_session()
    monkeypatch.setattr(connections, "find_session", lambda: before)
    other = Tokens("other", "other", 10e9)
    store_tokens(config_file(), "other:1", "alice", other)
    with pytest.raises(CommandError, match=r"the sign-in at .* has ended"):
        _token()
    stored = find_session()
    assert (stored.address, stored.tokens, server.shown) == ("other:1", other, [])


def test_a_logout_ends_the_session_once(server: Sessions) -> None:
    assert run(["logout"]) == 0
    assert (server.ended, server.shown) == (True, ["refresh-0"])
    assert not config_file().exists()


def _ask(connection: connections.Connection) -> None:
    connection.call(connection.identity.ListMyOrganizations, pb.ListMyOrganizationsRequest())


def test_who_outlives_a_token_gets_another_and_goes_on(server: Sessions) -> None:
    with connections.connect() as connection:
        _ask(connection)
        server.expired.add("access-1")
        _ask(connection)
        assert server.calls == ["access-1", "access-1", "access-2"]
        # Another command was first: what it stored is taken.
        server.expired.add("access-2")
        assert server.shown == ["refresh-0", "refresh-1"]
        with connections.connect() as other:
            _ask(other)
        _ask(connection)
    assert server.calls[3:] == ["access-2", "access-3", "access-2", "access-3"]
    assert server.shown == ["refresh-0", "refresh-1", "refresh-2"]


def test_who_is_refused_with_a_new_token_too_gives_up(server: Sessions) -> None:
    server.expired |= {"access-1", "access-2"}
    with connections.connect() as connection, pytest.raises(grpc.RpcError) as refused:
        _ask(connection)
    assert connections.is_refused(refused.value)
    assert server.calls == ["access-1", "access-2"]


def test_a_session_that_ended_in_the_meantime_is_told(server: Sessions) -> None:
    with connections.connect() as connection:
        server.expired.add("access-1")
        server.ended = True
        with pytest.raises(CommandError, match=r"the sign-in at .* has ended"):
            _ask(connection)


def test_a_token_that_was_given_is_not_renewed(
    server: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOG_TOKEN", "access-0")
    with connections.connect() as connection, pytest.raises(grpc.RpcError):
        _ask(connection)
    assert (server.calls, server.shown) == (["access-0"], [])


def test_events_are_followed_beyond_the_end_of_a_token(
    server: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_commands, "_RETRY_PAUSE_S", 0)
    assert run(["events", "--follow"]) == 1
    assert server.calls == ["access-1", "access-1", "access-2", "access-2", "access-3"]


def test_logs_are_followed_beyond_the_ends_of_tokens(
    server: Sessions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(connections, "_BRIEF_S", 0)
    assert run(["logs", AN_ID, "--follow", "-n", "5"]) == 0
    assert capsys.readouterr().out == "5 lines\nand 0\n"
    assert server.calls == [f"access-{number}" for number in (1, 2, 3, 4)]


def test_logs_that_are_refused_at_once_with_a_new_token_end(server: Sessions) -> None:
    server.expired |= {"access-1", "access-2"}
    assert run(["logs", AN_ID, "--follow"]) == 1
    assert server.calls == ["access-1", "access-2"]


def test_a_command_begins_with_a_new_token(
    server: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connections.connect() as connection:
        _ask(connection)
    assert run(["exec", AN_ID, "--", "sleep", "600"]) == 7
    assert server.calls == ["access-1", "access-2"]
    monkeypatch.setenv("FOG_TOKEN", "given")
    assert run(["exec", AN_ID, "--", "sleep", "600"]) == 7
    assert server.calls[2:] == ["given"]
