"""TLS between gRPC servers and their callers, over real loopback connections."""

import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fogbank.runtime.certificate_ends import GATEWAY_NAME, CertificateError
from fogbank.runtime.certificates import (
    Authority,
    Certificate,
    Identity,
    make_key,
    make_request,
)
from fogbank.runtime.grpc_channel import CurrentCredentials, open_channel
from fogbank.runtime.grpc_errors import from_rpc_error
from fogbank.runtime.grpc_server import GrpcServer
from fogbank.runtime.grpc_tls import (
    CertificateFiles,
    CertificateRule,
    OwnCertificate,
    ServiceTls,
    peer_certificate,
    refuse_nodes,
    server_credentials,
)
from fogbank.runtime.settings import FleetSettings
from fogbank.runtime.tls import TlsFileError
from fogbank.runtime.tls_errors import tls_advice
from tests.support.fleet_log import an_id
from tests.unit.runtime.echo import KINDS, NAME, add_echo, call

NODE = an_id("node")
DAY_S = 24 * 3600


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.of_folder(tmp_path_factory.mktemp("ca"), "default")


async def who(_request: bytes, context: Any) -> bytes:
    certificate = peer_certificate(context)
    return repr(certificate and certificate.identity).encode()


@asynccontextmanager
async def served(
    credentials: grpc.ServerCredentials | None,
    rules: Sequence[grpc.aio.ServerInterceptor] = (),
) -> AsyncIterator[str]:
    server = GrpcServer([NAME], interceptors=rules, credentials=credentials)
    add_echo(server.grpc, who)
    port = await server.start("127.0.0.1:0")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def said(
    address: str, credentials: grpc.ChannelCredentials | CurrentCredentials | None
) -> str:
    async with open_channel(address, credentials=credentials) as channel:
        return (await call(channel, "Unary", b""))[0].decode()


async def refused(
    address: str, credentials: grpc.ChannelCredentials | None
) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await said(address, credentials)
    return caught.value


def node_credentials(authority: Authority, lifetime_s: int = 60) -> grpc.ChannelCredentials:
    key = make_key()
    certificate = authority.sign_node(make_request(key, NODE), NODE, lifetime_s, time.time())
    return grpc.ssl_channel_credentials(
        authority.certificate_pem.encode(), key.encode(), certificate.encode()
    )


def rewrite(path: Path, text: str) -> None:
    """Write a file whose time of change is another, however coarse the system's clock is."""
    changed_ns = path.stat().st_mtime_ns + 1_000_000_000
    path.write_text(text)
    os.utime(path, ns=(changed_ns, changed_ns))


def trusting(authority: Authority) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(authority.certificate_pem.encode())


async def test_a_caller_is_known_by_its_certificate(authority: Authority) -> None:
    own = OwnCertificate(authority, "gateway", [GATEWAY_NAME, "127.0.0.1"])
    async with served(server_credentials(own, authority.certificate_pem)) as address:
        assert await said(address, node_credentials(authority)) == repr(
            Identity("default", "node", NODE)
        )
        stranger = await refused(address, trusting(authority))
        assert stranger.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("kind", ["Unary", "StreamStream"])
async def test_a_node_calls_no_service_behind_the_gateway(authority: Authority, kind: str) -> None:
    own = OwnCertificate(authority, "ledger", ["127.0.0.1"])
    rules = [CertificateRule(refuse_nodes)]
    async with (
        served(server_credentials(own, authority.certificate_pem), rules) as address,
        open_channel(address, credentials=node_credentials(authority)) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel, kind, b"")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert from_rpc_error(caught.value).reason == "NODE_CERTIFICATE"


async def test_what_is_wrong_is_said(authority: Authority, tmp_path: Path) -> None:
    other = Authority.of_folder(tmp_path, "default")
    now_s = time.time()
    past = OwnCertificate(
        authority, "gateway", ["127.0.0.1"], lifetime_s=DAY_S, now_s=lambda: now_s - 2 * DAY_S
    )
    future = OwnCertificate(
        authority, "gateway", ["127.0.0.1"], lifetime_s=DAY_S, now_s=lambda: now_s + 2 * DAY_S
    )
    elsewhere = OwnCertificate(authority, "gateway", ["10.0.0.1"])
    good = OwnCertificate(authority, "gateway", ["127.0.0.1"])
    for source, credentials, part in (
        (good, trusting(other), "not signed by the authority"),
        (past, trusting(authority), "compare the clocks"),
        (future, trusting(authority), "set the clock right"),
        (elsewhere, trusting(authority), "FOG_TLS_NAMES"),
    ):
        async with served(server_credentials(source)) as address:
            error = await refused(address, credentials)
        assert part in tls_advice(error.details() or ""), error.details()
    async with served(None) as address:
        error = await refused(address, trusting(authority))
        assert "speaks no TLS" in tls_advice(error.details() or ""), error.details()


async def test_services_know_each_other_by_files_that_may_change(
    authority: Authority, tmp_path: Path
) -> None:
    ca, certificate, key = tmp_path / "ca.crt", tmp_path / "ledger.crt", tmp_path / "ledger.key"
    ca.write_text(authority.certificate_pem)

    def make(service: str) -> None:
        made = authority.issue(service, ["127.0.0.1"], DAY_S, time.time())
        key.write_text(made[0])
        certificate.write_text(made[1])

    make("ledger")
    tls = ServiceTls(FleetSettings(tls_cert=certificate, tls_key=key, tls_ca=ca))
    async with served(tls.server, [CertificateRule(refuse_nodes)]) as address:
        assert await said(address, tls.client()) == repr(Identity("default", "service", "ledger"))
        make("gateway")
        source = tls.source
        assert source is not None
        assert Certificate.read(source.current()[1].decode()).identity == Identity(
            "default", "service", "gateway"
        )
        certificate.write_text("nonsense")
        await said(address, tls.client())  # what was good stays
        assert (await refused(address, trusting(authority))).code() is grpc.StatusCode.UNAVAILABLE


class Changing:
    """A source whose certificate a test exchanges."""

    def __init__(self, authority: Authority) -> None:
        self._pairs = {
            service: OwnCertificate(authority, service, []).current()
            for service in ("scheduler", "gateway")
        }
        self.service = "scheduler"

    def current(self) -> tuple[bytes, bytes]:
        return self._pairs[self.service]


async def test_calls_show_the_certificate_of_now(authority: Authority, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text(authority.certificate_pem)
    own, changing = OwnCertificate(authority, "ledger", ["127.0.0.1"]), Changing(authority)
    async with (
        served(server_credentials(own, authority.certificate_pem)) as address,
        open_channel(
            address,
            token="token",
            credentials=ServiceTls(FleetSettings(tls_ca=ca)).client(changing),
        ) as channel,
    ):
        for service in ("scheduler", "scheduler", "gateway"):
            changing.service = service
            shown = repr(Identity("default", "service", service)).encode()
            for kind in KINDS:
                assert set(await call(channel, kind, b"")) == {shown}


def test_wrong_files_are_named(authority: Authority, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "crt"
    with pytest.raises(TlsFileError, match="cannot read"):
        CertificateFiles(certificate, key)
    key.write_text(make_key())
    certificate.write_text("nonsense")
    with pytest.raises(TlsFileError, match="crt"):
        CertificateFiles(certificate, key)
    (tmp_path / "authority.pem").write_text(make_key() + authority.certificate_pem)
    with pytest.raises(CertificateError, match="belong together"):
        Authority.of_folder(tmp_path, "default")


def test_a_certificate_of_another_key_is_not_shown(authority: Authority, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key", tmp_path / "crt"
    first, second = (authority.issue("gateway", [], DAY_S, time.time()) for _ in range(2))
    key.write_text(first[0])
    certificate.write_text(second[1])
    with pytest.raises(TlsFileError, match="mismatch"):
        CertificateFiles(certificate, key)
    key.write_text(second[0])
    files = CertificateFiles(certificate, key)
    good = files.current()
    rewrite(key, first[0])
    assert files.current() == good
    rewrite(certificate, first[1])
    assert files.current() == (first[0].encode(), first[1].encode())


def test_an_authority_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    first = Authority.of_folder(tmp_path / "ca", "default")
    again = Authority.of_folder(tmp_path / "ca", "default")
    assert again.fingerprint == first.fingerprint
    assert (tmp_path / "ca" / "authority.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ca" / "ca.crt").read_text() == first.certificate_pem


@pytest.mark.parametrize("request_der", [b"", b"nonsense"])
def test_what_is_no_request_is_refused(authority: Authority, request_der: bytes) -> None:
    with pytest.raises(CertificateError):
        authority.sign_node(request_der, NODE, 60, time.time())


def test_a_certificate_renews_itself_in_time(authority: Authority) -> None:
    now_s = time.time()
    own = OwnCertificate(authority, "gateway", [], lifetime_s=300, now_s=lambda: now_s)
    first = own.current()
    now_s += 199
    assert own.current() == first
    now_s += 2
    assert own.current() != first
