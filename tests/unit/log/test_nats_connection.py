"""What the connection adds to the broker's client."""

import asyncio
from contextlib import suppress
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from fogbank.log.nats_connection import NatsConnection


@pytest.mark.parametrize("is_anybody_there", [True, False])
async def test_a_cancellation_at_the_moment_of_the_answer_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, *, is_anybody_there: bool
) -> None:
    """Before Python 3.12 asyncio.wait_for, which the client uses, returns the answer instead.

    Out of which the client makes an error if it says that nobody is there to answer.
    """
    connection = NatsConnection("test")
    asked, went_on = asyncio.Event(), False

    async def forgetful(*_args: Any, **_options: Any) -> Msg:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if not is_anybody_there:
            raise nats.errors.NoRespondersError
        return Msg(_client=connection.client, data=b"answer")

    async def asking() -> None:
        nonlocal went_on
        await connection.request("subject", b"", timeout_s=5)
        went_on = True

    monkeypatch.setattr(connection.client, "request", forgetful)
    task = asyncio.create_task(asking())
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not went_on
