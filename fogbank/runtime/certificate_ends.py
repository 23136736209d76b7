"""What of certificates must be known to show one: the gateways' name, and when one ends.

Apart from `certificates`, whose library takes more memory than a node agent can spare.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator

from fogbank.runtime.operator_error import OperatorError

# Every gateway's certificate bears it, so agents need not care under which address they call.
GATEWAY_NAME = "gateway.fogbank.internal"

PEM_BEGIN = "-----BEGIN CERTIFICATE-----"
_PEM_END = "-----END CERTIFICATE-----"

# Tags of DER (X.690) and where things are in a certificate (RFC 5280, 4.1).
_SEQUENCE, _VERSION = 0x30, 0xA0
_VALIDITY, _NOT_AFTER = 3, 1
_TIMES = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
_LONG_FORM, _LENGTH_OCTETS = 0x80, 0x7F


class CertificateError(OperatorError):
    """A certificate, key or request is not what it should be; the text says which and why."""


def end_of(pem: str) -> float:
    """Return when the first certificate of a text ends, in seconds since 1970.

    Raises:
        CertificateError: there is none.
    """
    body = pem.partition(PEM_BEGIN)[2].partition(_PEM_END)[0]
    try:
        (certificate,) = _elements(base64.b64decode(body))
        to_be_signed = next(_elements(_within(certificate)))
        parts = [part for part in _elements(_within(to_be_signed)) if part[0] != _VERSION]
        tag, text = list(_elements(_within(parts[_VALIDITY])))[_NOT_AFTER]
        end = dt.datetime.strptime(text.decode("ascii"), _TIMES[tag]).replace(tzinfo=dt.UTC)
    except (ValueError, LookupError, StopIteration) as error:
        raise CertificateError("this is no certificate") from error
    return end.timestamp()


def _within(element: tuple[int, bytes]) -> bytes:
    tag, content = element
    if tag != _SEQUENCE:
        raise ValueError("no sequence")
    return content


def _elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element of DER. ValueError, IndexError where it is none."""
    at = 0
    while at < len(content):
        tag, length = content[at], content[at + 1]
        at += 2
        if length & _LONG_FORM:
            octets = length & _LENGTH_OCTETS
            length = int.from_bytes(content[at : at + octets], "big")
            at += octets
        if at + length > len(content):
            raise ValueError("cut short")
        yield tag, content[at : at + length]
        at += length
