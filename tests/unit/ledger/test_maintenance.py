"""Work by request that is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from services.ledger.adapters.maintenance import until_told


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_end_tidies_up_however_often_that_is_said(told: signal.Signals) -> None:
    tidied: list[signal.Signals] = []

    async def work() -> dict[str, Any]:
        try:
            os.kill(os.getpid(), told)
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            os.kill(os.getpid(), told)
            await asyncio.to_thread(tidied.append, told)
            error.add_note("as it was")
            raise
        return {}

    with pytest.raises(asyncio.CancelledError) as ended:
        asyncio.run(until_told(work()))
    assert tidied == [told]
    assert ended.value.__notes__ == ["as it was"]
