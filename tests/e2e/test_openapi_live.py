"""A live system answers as its OpenAPI document says, whatever is sent."""

from collections.abc import Generator

import httpx2
import pytest
from schemathesis import GenerationMode

from tests.support.fog_up import FogUp, fog_up
from tests.support.openapi_check import MODES, assert_every_answer_is_documented

pytestmark = pytest.mark.xdist_group("fog-up-openapi")

# All that is tried comes from one address and by one user, and much of it without a valid token:
# refused for that, it would say nothing of the operation. Hashes are many and hold no secret.
UNHURRIED = {
    "FOG_REQUESTS_PER_SECOND": "1000000",
    "FOG_ANONYMOUS_REQUESTS_PER_SECOND": "1000000",
    "FOG_FAILED_SIGN_INS_PER_MINUTE": "1000000",
    "FOG_PASSWORD_TIME_COST": "1",
    "FOG_PASSWORD_MEMORY_KIB": "32",
}


@pytest.fixture(scope="module")
def tried_system() -> Generator[FogUp]:
    """One of its own: what is deployed, scaled and deleted here is anybody's guess."""
    with fog_up("--nodes", "2", env=UNHURRIED) as system:
        yield system


def sign_in(system: FogUp) -> str:
    """Return a token of the administrator's: the one before may have been signed out by a try."""
    user = {
        "username": system.state["admin_user"],
        "password": system.state["admin_password"],
    }
    answer = httpx2.post(f"{system.http}/api/auth/login", json=user)
    assert answer.status_code == httpx2.codes.OK, answer.text
    return str(answer.json()["access_token"])


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_live_system_answers_as_documented(tried_system: FogUp, mode: GenerationMode) -> None:
    assert_every_answer_is_documented(
        tried_system.http, lambda: sign_in(tried_system), mode, examples=1
    )


@pytest.mark.soak
@pytest.mark.parametrize("mode", MODES)
def test_a_live_system_answers_as_documented_at_length(
    tried_system: FogUp, mode: GenerationMode
) -> None:
    assert_every_answer_is_documented(
        tried_system.http, lambda: sign_in(tried_system), mode, examples=1_000
    )
