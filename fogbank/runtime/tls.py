"""TLS contexts: whom to trust, and how to prove who we are."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path

from fogbank.runtime.operator_error import OperatorError


class TlsFileError(OperatorError):
    """A certificate or key can't be used; names the file."""


def client_tls(
    ca: Path | None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext | None:
    """Return a context that trusts `ca` (None: what the system trusts); None if nothing is given.

    The server's name is always checked. `certificate` and `key` are shown to servers that ask.

    Raises:
        TlsFileError: a file is missing or isn't what it should be.
    """
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:  # an SSLError is one too
        raise TlsFileError(f"cannot read certificates to trust from {ca}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise TlsFileError(
                f"cannot use the certificate {certificate} with the key {key}: {error}"
            ) from error
    return context


def show_pair(context: ssl.SSLContext, key: bytes, chain: bytes) -> None:
    """Have a context show a chain of certificates, whose key is `key`; both PEM.

    Raises:
        TlsFileError: they can't be read, or don't belong together.
    """
    try:
        # The ssl module reads from files only; this one is the process's own and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(key + b"\n" + chain)
            file.flush()
            # Without a password it would ask for one at the terminal.
            context.load_cert_chain(file.name, password="")
    except OSError as error:  # an SSLError is one too
        raise TlsFileError(f"certificate and key can't be used: {error}") from error
