"""Calls to the server: one channel, signed in, tried again while the server is briefly away."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import grpc

from fogbank.cli.failures import CommandError
from fogbank.cli.session import (
    Session,
    Tokens,
    config_file,
    find_session,
    locked,
    store_tokens,
    stored_now,
)
from fogbank.runtime.deadlines import PAST_DEADLINE_S
from fogbank.v1 import (
    audit_service_pb2_grpc,
    deployment_service_pb2_grpc,
    identity_service_pb2,
    identity_service_pb2_grpc,
    node_service_pb2_grpc,
    policy_service_pb2_grpc,
    replica_service_pb2_grpc,
    token_service_pb2_grpc,
)

CALL_TIMEOUT_S = 15.0
PAST_TIMEOUT_S = PAST_DEADLINE_S
_RETRY_PAUSE_S = 0.3
_LARGEST_MESSAGE = 64 * 1024 * 1024
PATIENCE_S = 10.0
_NOT_THERE_S = 2.0
# Of what a server says that a caller of many is to wait.
_LONGEST_PAUSE_S = 60.0
# Every token lasts longer than this.
_BRIEF_S = 5.0

T = TypeVar("T")
SYSTEM_CA = "system"
_target = _source = _ca = ""


def described_target() -> str:
    """Return which server was called last, and who said so."""
    return f"{_target} (from {_source})" if _target else "the server"


def called_address() -> str:
    """Return the `host:port` of the server called last."""
    return _target


def is_secure() -> bool:
    """Tell whether the server called last was called over TLS."""
    return bool(_ca)


def remembered_in() -> str:
    """Return the file in which `fog login` keeps the server called last; empty for none."""
    return _source if _source == str(config_file()) else ""


def channel_credentials(ca: str) -> grpc.ChannelCredentials | None:
    """Return credentials that trust a file's certificates, or `system`'s; None for no file."""
    if not ca:
        return None
    if ca == SYSTEM_CA:
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(Path(ca).expanduser().read_bytes())
    except OSError as error:
        raise CommandError(
            f"cannot read the certificates to trust from {ca}: {error.strerror}",
            hint="FOG_CA or `fog login --ca` names a file like the gateway's ca.crt",
        ) from error


@dataclass
class Connection:
    """A channel to one server and the services on it."""

    channel: grpc.Channel
    token: str | None = None
    # Tells a token in the place of one that the server takes no more.
    renew: Callable[[str], str] | None = None
    _connected: bool = field(default=False, init=False)

    @cached_property
    def deployments(self) -> deployment_service_pb2_grpc.DeploymentServiceStub:
        """DeploymentService."""
        return deployment_service_pb2_grpc.DeploymentServiceStub(self.channel)

    @cached_property
    def nodes(self) -> node_service_pb2_grpc.NodeServiceStub:
        """NodeService."""
        return node_service_pb2_grpc.NodeServiceStub(self.channel)

    @cached_property
    def replicas(self) -> replica_service_pb2_grpc.ReplicaServiceStub:
        """ReplicaService."""
        return replica_service_pb2_grpc.ReplicaServiceStub(self.channel)

    @cached_property
    def policies(self) -> policy_service_pb2_grpc.PolicyServiceStub:
        """PolicyService."""
        return policy_service_pb2_grpc.PolicyServiceStub(self.channel)

    @cached_property
    def audit(self) -> audit_service_pb2_grpc.AuditServiceStub:
        """AuditService."""
        return audit_service_pb2_grpc.AuditServiceStub(self.channel)

    @cached_property
    def identity(self) -> identity_service_pb2_grpc.IdentityServiceStub:
        """IdentityService."""
        return identity_service_pb2_grpc.IdentityServiceStub(self.channel)

    @cached_property
    def tokens(self) -> token_service_pb2_grpc.TokenServiceStub:
        """TokenService."""
        return token_service_pb2_grpc.TokenServiceStub(self.channel)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def renewed(self) -> bool:
        """Get another token in the place of this one; False if there is no way to.

        Raises:
            CommandError: the session has ended.
            grpc.RpcError: the server did not answer.
        """
        # Signing in makes calls too; one that is refused isn't a reason to sign in.
        renew, self.renew = self.renew, None
        if renew is None or self.token is None:
            return False
        try:
            self.token = renew(self.token)
        finally:
            self.renew = renew
        return True

    def call(
        self,
        method: Callable[..., T],
        request: Any,
        timeout_s: float = CALL_TIMEOUT_S,
        *,
        patience_s: float | None = None,
    ) -> T:
        """Make one call, and again for `patience_s` (PATIENCE_S) while the server is unavailable.

        Commands that wait outlive their token: once refused, the call is made again with another.
        Every request that changes something carries a request id, so a repeat does no harm.
        A server that was never there is given two seconds.

        Raises:
            grpc.RpcError: it failed.
        """
        began, refused = time.monotonic(), False
        if patience_s is None:
            patience_s = PATIENCE_S
        while True:
            try:
                answer = method(request, timeout=timeout_s, metadata=self.metadata)
            except grpc.RpcError as error:
                if is_refused(error) and not refused and self.renewed():
                    refused = True
                    continue
                waited_s = time.monotonic() - began
                limit_s = patience_s if self._connected else min(patience_s, _NOT_THERE_S)
                if error.code() is not grpc.StatusCode.UNAVAILABLE or waited_s > limit_s:
                    raise
                time.sleep(_RETRY_PAUSE_S)
            else:
                self._connected = True
                return answer

    def call_in_turn(
        self, method: Callable[..., T], request: Any, timeout_s: float = CALL_TIMEOUT_S
    ) -> T:
        """Make one of many calls as `call` does, once there is room among the caller's requests.

        Raises:
            grpc.RpcError: it failed.
        """
        from fogbank.runtime.grpc_errors import from_rpc_error

        while True:
            try:
                return self.call(method, request, timeout_s)
            except grpc.RpcError as error:
                told = from_rpc_error(error)  # type: ignore[arg-type]  # it is a Call too
                if told.reason != "RATE_LIMITED" or told.retry_after_ms is None:
                    raise
                time.sleep(min(told.retry_after_ms / 1000, _LONGEST_PAUSE_S))

    def while_signed_in(self, begin: Callable[[], Iterable[T]]) -> Iterator[T]:
        """Yield what a stream brings; when its token has ended, of another with a new token.

        Raises:
            grpc.RpcError: it failed, or is refused at once although the token is new.
        """
        is_new = False
        while True:
            began_s = time.monotonic()
            try:
                yield from begin()
            except grpc.RpcError as error:
                hopeless = is_new and time.monotonic() - began_s < _BRIEF_S
                if hopeless or not is_refused(error) or not self.renewed():
                    raise
                is_new = True
            else:
                return


def is_refused(error: grpc.RpcError) -> bool:
    """Tell whether a call failed for its token."""
    return error.code() is grpc.StatusCode.UNAUTHENTICATED


@contextmanager
def open_channel(address: str, source: str, ca: str = "") -> Generator[Connection]:
    """Keep a channel open while the context lasts; nobody is signed in.

    `ca` is a file of certificates to trust, or `system`; empty speaks without TLS.
    """
    global _target, _source, _ca
    _target, _source, _ca = address, source, ca
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", _LARGEST_MESSAGE),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    credentials = channel_credentials(ca)
    channel = (
        grpc.insecure_channel(address, options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options)
    )
    with channel:
        yield Connection(channel)


@contextmanager
def connect() -> Generator[Connection]:
    """Keep a channel open while the context lasts, signed in as whoever the settings name."""
    session = find_session()
    with open_channel(session.address, session.source, session.ca) as connection:
        if session.token is not None:
            connection.token = session.token
        else:
            connection.token = _signed_in(connection, session)
            connection.renew = lambda refused: _signed_in(connection, session, refused)
        yield connection


def sign_in(connection: Connection, user: str, password: str) -> Tokens:
    """Trade a name and password for tokens."""
    answer = connection.call(
        connection.identity.Login,
        identity_service_pb2.LoginRequest(username=user, password=password),
    )
    return _received(answer.tokens)


def end_session(session: Session) -> None:
    """Let the tokens of a session work no more at its server, if they still do.

    Call it while its store is `locked`.

    Raises:
        grpc.RpcError: the server did not answer.
    """
    with open_channel(session.address, session.source, session.ca) as connection:
        connection.token = _valid_token(connection, session)
        if connection.token is None:
            return
        try:
            connection.call(connection.identity.Logout, identity_service_pb2.LogoutRequest())
        except grpc.RpcError as error:
            if not is_refused(error):
                raise


def _signed_in(connection: Connection, session: Session, refused: str = "") -> str:
    """Return an access token: the stored one, a refreshed one, or one for the local first user.

    `refused` is one that the server takes no more, whatever is stored of it.
    """
    if session.tokens is not None and session.tokens.is_fresh and not refused:
        return session.tokens.access
    token = None
    if session.store is not None:
        with locked(session.store):
            now = stored_now(session)
            token = _valid_token(connection, now, refused) if now is not None else None
    if token is None:
        raise CommandError(
            f"the sign-in at {session.address} has ended", hint="sign in again with `fog login`"
        )
    return token


def _valid_token(connection: Connection, session: Session, refused: str = "") -> str | None:
    """Return the session's access token, or a new one and store it; None if the session has ended.

    Whoever calls holds the lock of the store.
    """
    tokens = session.tokens
    if tokens is not None and tokens.is_fresh and tokens.access != refused:
        return tokens.access
    fresh = _refreshed(connection, tokens) if tokens is not None else None
    if fresh is None and session.password:
        fresh = sign_in(connection, session.user, session.password)
    if fresh is None:
        return None
    if session.store is not None:
        store_tokens(session.store, session.address, session.user, fresh, session.ca)
    return fresh.access


def _refreshed(connection: Connection, tokens: Tokens) -> Tokens | None:
    """Trade tokens for new ones; None if the server doesn't take them any more.

    It is asked once: who was not answered can't know whether the token is used up, and a token that
    is shown twice ends its session.
    """
    try:
        answer = connection.identity.RefreshToken(
            identity_service_pb2.RefreshTokenRequest(refresh_token=tokens.refresh),
            timeout=CALL_TIMEOUT_S,
        )
    except grpc.RpcError as error:
        if is_refused(error):
            return None
        raise
    return _received(answer.tokens)


def _received(tokens: identity_service_pb2.Tokens) -> Tokens:
    return Tokens(
        access=tokens.access_token,
        refresh=tokens.refresh_token,
        ends_at=time.time() + tokens.expires_in.ToTimedelta().total_seconds(),
    )
