"""Access tokens: what is read back, and all that is refused."""

import base64
import hmac
import json
import time
from typing import Any
from uuid import uuid4

import jwt
import pytest

from fogbank.domain.errors import UnauthenticatedError
from services.gateway.adapters.tokens import (
    JwtAccessTokens,
    SigningKey,
    UnsafeSecretError,
    signing_keys,
)
from services.gateway.app.principal import Principal, Role

SECRET = "0123456789abcdef" * 4
USER = str(uuid4())


def _now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def tokens() -> JwtAccessTokens:
    return JwtAccessTokens(SigningKey(SECRET), lifetime_s=1800)


def _claims(**changes: Any) -> dict[str, Any]:
    now_s = int(time.time())
    claims: dict[str, Any] = {
        "iss": "fogbank",
        "aud": "fogbank",
        "sub": USER,
        "role": "user",
        "iat": now_s,
        "exp": now_s + 60,
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("role", list(Role))
def test_a_token_tells_who_it_was_made_for(tokens: JwtAccessTokens, role: Role) -> None:
    assert tokens.read(tokens.issue(Principal(USER, role), _now_us())) == Principal(USER, role)


def test_the_handmade_claims_of_these_tests_are_right(tokens: JwtAccessTokens) -> None:
    assert tokens.read(jwt.encode(_claims(), SECRET, "HS256")) == Principal(USER, Role.USER)


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "role", "iat", "exp"])
def test_every_claim_is_required(tokens: JwtAccessTokens, name: str) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens.read(jwt.encode(_claims(**{name: None}), SECRET, "HS256"))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "somebody"},
        {"aud": "somebody"},
        {"sub": "admin"},
        {"role": "root"},
        {"exp": int(time.time()) - 60},
        {"iat": int(time.time()) + 10 * 24 * 3600},
        {"exp": "soon"},
    ],
    # Without the time in them: parallel test runs must name the tests alike.
    ids=["issuer", "audience", "subject", "role", "expired", "from the future", "no instant"],
)
def test_every_claim_is_checked(tokens: JwtAccessTokens, changes: dict[str, Any]) -> None:
    with pytest.raises(UnauthenticatedError, match=r"^Not authenticated$"):
        tokens.read(jwt.encode(_claims(**changes), SECRET, "HS256"))


def test_a_token_without_signature_is_refused(tokens: JwtAccessTokens) -> None:
    for algorithm in ("none", "None", "NONE", "nOnE"):
        header = _segment({"alg": algorithm, "typ": "JWT"})
        with pytest.raises(UnauthenticatedError):
            tokens.read(f"{header}.{_segment(_claims())}.")


def test_another_secret_is_refused(tokens: JwtAccessTokens) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens.read(jwt.encode(_claims(), SECRET[::-1], "HS256"))


def test_the_right_secret_with_another_algorithm_is_refused(tokens: JwtAccessTokens) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens.read(jwt.encode(_claims(), SECRET, "HS512"))


def test_changed_claims_are_refused(tokens: JwtAccessTokens) -> None:
    header, _, signature = tokens.issue(Principal(USER), _now_us()).split(".")
    with pytest.raises(UnauthenticatedError):
        tokens.read(f"{header}.{_segment(_claims(role='admin'))}.{signature}")


@pytest.mark.parametrize(
    "garbage", ["", ".", "..", "a.b.c", "é.é.é", "x" * 10_000, "\0", "e30.e30."]
)
def test_garbage_is_refused(tokens: JwtAccessTokens, garbage: str) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens.read(garbage)


def test_an_expired_token_is_refused(tokens: JwtAccessTokens) -> None:
    long_ago_us = _now_us() - 2000 * 1_000_000
    with pytest.raises(UnauthenticatedError):
        tokens.read(tokens.issue(Principal(USER), long_ago_us))


@pytest.mark.parametrize(
    ("secret", "algorithm", "advice"),
    [
        ("your-secret-key", "HS256", "openssl rand -hex 32"),
        ("", "HS256", "missing"),
        ("x" * 31, "HS256", "31 bytes, HS256 needs at least 32"),
        ("x" * 64, "HS256", "repeats one character"),
        (SECRET[:40], "HS512", "at least 64"),
        (SECRET, "none", "HS256"),
        (SECRET, "RS256", "HS256"),
        (SECRET, "hs256", "HS256"),
    ],
)
def test_unsafe_signing_settings_are_refused_with_advice(
    secret: str, algorithm: str, advice: str
) -> None:
    with pytest.raises(UnsafeSecretError, match=advice) as refusal:
        SigningKey(secret, algorithm)
    assert not secret or secret not in str(refusal.value)


def test_a_signing_key_hides_its_secret() -> None:
    assert SECRET not in repr(SigningKey(SECRET))


OTHER = SECRET[::-1]


def test_keys_are_exchanged_without_anybody_signing_in_anew() -> None:
    old, both, turned, new = [
        JwtAccessTokens(signing_keys(lines), 1800)
        for lines in (SECRET, f"{SECRET}\n{OTHER}\n", f"{OTHER}\n{SECRET}", OTHER)
    ]
    by_old, by_new = (each.issue(Principal(USER), _now_us()) for each in (both, turned))
    for tokens in (old, both, turned):
        assert tokens.read(by_old) == Principal(USER)
    for tokens in (both, turned, new):
        assert tokens.read(by_new) == Principal(USER)
    # A key that is not there (any more) is nobody's, though the signature was good once.
    for tokens, token in ((new, by_old), (old, by_new)):
        with pytest.raises(UnauthenticatedError):
            tokens.read(token)
    without_id = jwt.encode(_claims(), SECRET, "HS256")
    assert turned.read(without_id) == both.read(without_id) == Principal(USER)


@pytest.mark.parametrize("named", ["", "0123456789abcdef", "../keys", 5, None, ["x"]])
def test_a_key_that_is_not_there_is_refused(tokens: JwtAccessTokens, named: object) -> None:
    header = {"alg": "HS256", "typ": "JWT", "kid": named}
    signed = f"{_segment(header)}.{_segment(_claims())}"
    signature = base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), signed.encode(), "sha256"))
    with pytest.raises(UnauthenticatedError):
        tokens.read(f"{signed}.{signature.rstrip(b'=').decode()}")


def test_a_token_names_itself_and_its_session(tokens: JwtAccessTokens) -> None:
    one, two = (
        tokens.read(tokens.issue(Principal(USER, session_id="s"), _now_us())) for _ in range(2)
    )
    assert one.session_id == two.session_id == "s"
    assert one.token_id != two.token_id
    assert tokens.read(jwt.encode(_claims(), SECRET, "HS256")).token_id


def test_every_line_must_be_a_safe_key() -> None:
    with pytest.raises(UnsafeSecretError, match="5 bytes"):
        signing_keys(f"{SECRET}\nshort")
    with pytest.raises(UnsafeSecretError, match="twice"):
        signing_keys(f"{SECRET}\n{SECRET}")
    with pytest.raises(UnsafeSecretError, match="missing"):
        signing_keys("\n")
