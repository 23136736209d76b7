"""Tokens that nobody may get in with."""

from __future__ import annotations

import time
from typing import Any

import jwt

from services.gateway.adapters.tokens import AUDIENCE, ISSUER

QUICK_KINDS = ("none at all", "expired", "alg none")
OTHER_KINDS = (
    "nonsense",
    "wrong audience",
    "wrong issuer",
    "wrong key",
    "unknown key id",
    "another algorithm",
    "no signature",
    "signature of another",
)


def bad_tokens(good: str, secret: str) -> dict[str, str]:
    """Make them of a good one, by what is wrong with each."""
    claims = jwt.decode(good, options={"verify_signature": False})
    now_s = int(time.time())

    header = jwt.get_unverified_header(good)

    def signed(changes: dict[str, Any], key: str = secret, algorithm: str = "HS256") -> str:
        return jwt.encode(claims | changes, key, algorithm, headers={"kid": header["kid"]})

    head, body, signature = good.split(".")
    return {
        "none at all": "",
        "nonsense": "nonsense",
        "expired": signed({"iat": now_s - 7200, "exp": now_s - 3600}),
        "wrong audience": signed({"aud": f"not {AUDIENCE}"}),
        "wrong issuer": signed({"iss": f"not {ISSUER}"}),
        "wrong key": signed({}, key="f" * 64),
        "unknown key id": jwt.encode(claims, secret, headers={"kid": "0123456789abcdef"}),
        "another algorithm": signed({}, algorithm="HS512"),
        "alg none": jwt.encode(claims, "", "none"),
        "no signature": f"{head}.{body}.",
        "signature of another": f"{head}.{signed({'role': 'admin'}).split('.')[1]}.{signature}",
    }
