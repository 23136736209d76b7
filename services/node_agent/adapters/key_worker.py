"""The process of `key_work`: reads jobs from its input, writes what it did to its output."""

from __future__ import annotations

import select
import socket
import sys
import time
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import json
from OpenSSL import SSL

from fogbank.runtime.certificate_ends import GATEWAY_NAME, CertificateError
from fogbank.runtime.certificates import fingerprint, make_key, make_request
from fogbank.runtime.private_files import make_once
from fogbank.runtime.settings import host_and_port
from services.node_agent.adapters.key_work import Done, Job

_HANDSHAKE_S = 5.0


def main() -> None:
    """Do all jobs."""
    jobs = json.decode(sys.stdin.buffer.read(), type=list[Job])
    sys.stdout.buffer.write(json.encode([done(job) for job in jobs]))


def done(job: Job) -> Done:
    """Do a job."""
    key_file = Path(job.key_file)
    authority = Done()
    try:
        if job.join_address:
            make_once(key_file, make_key())
            authority = _authority(job.join_address, job.fingerprint)
            if authority.why:
                return authority
        request = make_request(key_file.read_text(encoding="utf-8"), job.node_id)
    except (OSError, UnicodeDecodeError, CertificateError) as error:
        return Done(why=f"{key_file}: {error}", refused=True)
    return Done(request, authority.authority_pem)


@cache  # (all nodes of a process join at the same gateway)
def _authority(address: str, wanted: bytes) -> Done:
    """Return the authority's certificate from what a server presents, or why there is none.

    Nothing that is presented is trusted but for the fingerprint `wanted`.
    """
    try:
        chain = _presented(*host_and_port(address))
    except (OSError, SSL.Error) as error:
        why = "it speaks no TLS there" if isinstance(error, SSL.Error) else str(error)
        return Done(why=f"cannot join at {address}: {why}")
    for certificate in chain:
        if fingerprint(certificate.public_bytes(Encoding.DER)) == wanted:
            return Done(authority_pem=certificate.public_bytes(Encoding.PEM).decode())
    return Done(
        why=f"{address} is not of the fleet that made the join token, or its authority was made "
        "anew: check FOG_JOIN_ADDR, then make another token with `fog nodes token`",
        refused=True,
    )


def _presented(host: str, port: int) -> list[x509.Certificate]:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_alpn_protos([b"h2"])
    until_s = time.monotonic() + _HANDSHAKE_S
    with socket.create_connection((host, port), timeout=_HANDSHAKE_S) as connection:
        connection.setblocking(False)
        tls = SSL.Connection(context, connection)
        tls.set_tlsext_host_name(GATEWAY_NAME.encode())
        tls.set_connect_state()
        while True:
            try:
                tls.do_handshake()
                break
            except SSL.WantReadError:
                left_s = until_s - time.monotonic()
                if left_s <= 0 or not select.select([connection], [], [], left_s)[0]:
                    raise TimeoutError("no answer to the TLS handshake") from None
        return list(tls.get_peer_cert_chain(as_cryptography=True) or ())


if __name__ == "__main__":
    main()
