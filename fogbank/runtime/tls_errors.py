"""What to do about a connection that TLS didn't let come about, from gRPC's own words."""

from __future__ import annotations

_EXPIRED = (
    "the certificate shown has expired by this host's clock: compare the clocks (`date -u`), then "
    "have a new certificate made"
)
_TOO_NEW = "the certificate shown is not valid yet by this host's clock: set the clock right"
_STRANGER = (
    "the server's certificate is not signed by the authority that is trusted here: get ca.crt of "
    "the system that is meant"
)
_OTHER_NAME = (
    "the server's certificate doesn't bear the name it was called by: call it by one that it has, "
    "or add the name to the gateway's FOG_TLS_NAMES"
)
_NO_TLS = "the server speaks no TLS there: leave the authority (FOG_CA) out, or call another port"
# What gRPC says, and what it means to whoever set it up; the first that fits counts.
_MEANINGS = (
    ("certificate has expired", _EXPIRED),
    ("certificate is not yet valid", _TOO_NEW),
    ("is not in peer certificate", _OTHER_NAME),
    ("hostname verification check failed", _OTHER_NAME),
    ("certificate_verify_failed", _STRANGER),
    ("wrong_version_number", _NO_TLS),
)


def tls_advice(text: str) -> str:
    """Return what to do about a failed connection; empty if TLS has nothing to do with it."""
    folded = text.casefold()
    return next((advice for part, advice in _MEANINGS if part in folded), "")
