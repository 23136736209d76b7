"""How often a name is tried: no oftener at once than one by one, and successes do not count."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fogbank.domain.errors import (
    FogError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
)
from fogbank.runtime.clock import ManualClock
from services.gateway.app import limits
from services.gateway.app.identity import Identity, User
from services.gateway.app.limits import Allowance, Limits
from services.gateway.app.principal import Role
from tests.support.waiting import eventually

ANN = User("11111111-1111-4111-8111-111111111111", "ann", "right", Role.USER)
ALLOWED = 3


class _Users:
    async def by_name_key(self, name_key: str) -> User | None:
        return ANN if name_key == "ann" else None


class _Passwords:
    """Takes until it is told to go on."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()
        self.reachable = True

    async def verify(
        self, password: str, password_hash: str | None, _asker: str
    ) -> tuple[bool, str | None]:
        self.asked += 1
        await self.go_on.wait()
        if not self.reachable:
            raise UnavailableError("away")
        return password == password_hash, None


class _Tokens:
    lifetime_s = 60

    async def begin(self, *_: Any) -> str:
        return "session"

    def issue(self, *_: Any) -> str:
        return "token"


def _identity(passwords: _Passwords) -> Identity:
    tokens: Any = _Tokens()
    users: Any = _Users()
    return Identity(
        users,
        tokens,
        passwords,  # type: ignore[arg-type]  # verifies alone
        tokens,
        tokens,
        clock=ManualClock(),
        refresh_lifetime_s=60,
        limits=Limits(ManualClock(), Allowance(failed_sign_ins_per_minute=ALLOWED)),
    )


@pytest.mark.parametrize("name", ["ann", "nobody"])
async def test_guesses_at_once_are_as_few_as_guesses_one_by_one(name: str) -> None:
    passwords = _Passwords()
    identity = _identity(passwords)

    async def go_on() -> None:
        passwords.go_on.set()

    guesses = (identity.login(name, f"guess {number}", "192.0.2.1") for number in range(20))
    *outcomes, _ = await asyncio.gather(*guesses, go_on(), return_exceptions=True)
    assert passwords.asked == ALLOWED
    assert [type(each) for each in outcomes] == [
        *[UnauthenticatedError] * ALLOWED,
        *[ResourceExhaustedError] * (20 - ALLOWED),
    ]


async def test_what_succeeds_or_is_not_answered_counts_no_more() -> None:
    passwords = _Passwords()
    identity = _identity(passwords)
    passwords.go_on.set()
    for _ in range(2 * ALLOWED):
        await identity.login("ann", "right", "192.0.2.1")
    passwords.reachable = False
    for _ in range(2 * ALLOWED):
        with pytest.raises(UnavailableError):
            await identity.login("ann", "wrong", "192.0.2.1")
    passwords.reachable = True
    for error in [UnauthenticatedError] * ALLOWED + [ResourceExhaustedError]:
        with pytest.raises(FogError) as refused:
            await identity.login("ann", "wrong", "192.0.2.1")
        assert refused.type is error


async def test_those_with_the_right_password_wait_for_one_another() -> None:
    passwords = _Passwords()
    identity = _identity(passwords)
    asking = asyncio.gather(*(identity.login("ann", "right", "192.0.2.1") for _ in range(20)))
    await eventually(lambda: passwords.asked == ALLOWED, what="as many as may fail")
    passwords.go_on.set()
    assert len(await asyncio.wait_for(asking, 60)) == 20
    assert not identity.limits._attempts, "nothing is kept of them"


async def test_who_waits_among_guesses_is_refused_once_those_have_failed() -> None:
    passwords = _Passwords()
    identity = _identity(passwords)
    guesses = [identity.login("ann", f"guess {number}", "192.0.2.1") for number in range(ALLOWED)]
    asking = asyncio.gather(
        *guesses, identity.login("ann", "right", "192.0.2.1"), return_exceptions=True
    )
    await eventually(lambda: passwords.asked == ALLOWED, what="the guesses")
    passwords.go_on.set()
    *wrong, right = await asyncio.wait_for(asking, 60)
    assert [type(each) for each in wrong] == [UnauthenticatedError] * ALLOWED
    assert isinstance(right, ResourceExhaustedError)


async def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_MOST_WAITING", 2)
    passwords = _Passwords()
    identity = _identity(passwords)
    asked = [asyncio.ensure_future(identity.login("ann", "right", "")) for _ in range(ALLOWED + 3)]
    await eventually(asked[-1].done, what="the one too many")
    assert isinstance(asked[-1].exception(), ResourceExhaustedError)
    # Who leaves makes room for somebody else to wait.
    asked[-2].cancel()
    await asyncio.gather(asked[-2], return_exceptions=True)
    another = asyncio.ensure_future(identity.login("ann", "right", ""))
    passwords.go_on.set()
    assert len(await asyncio.wait_for(asyncio.gather(*asked[:-2], another), 60)) == ALLOWED + 2
