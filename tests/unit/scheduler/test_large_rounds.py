"""What a scheduler does with a round for which a commit has no room."""

from __future__ import annotations

from fogbank.log.memory import MemoryLog, MemoryStore
from fogbank.log.port import CommitTooLargeError, Writer
from tests.support.fleet_log import LittleLog, a_fingerprint, a_spec
from tests.support.schedulers import running_scheduler
from tests.support.waiting import eventually

_MOST_BYTES = 4_000
_DEPLOYMENTS = 30


class NarrowLog(MemoryLog):
    """A log whose commits hold little."""

    async def append(self, data: bytes, *, expected_last: int | None = None) -> int:
        """Append what is not too large."""
        if len(data) > _MOST_BYTES:
            raise CommitTooLargeError(f"a commit of {len(data)} bytes")
        return await super().append(data, expected_last=expected_last)


async def test_a_round_that_is_too_large_is_decided_again_in_smaller_ones() -> None:
    facts = LittleLog()
    facts.connect("fog-0", a_fingerprint(cpu=64_000))
    for _ in range(_DEPLOYMENTS):
        facts.deploy(a_spec(cpu=100, memory=64, storage=1))
    store = MemoryStore()
    for commit, data in zip(facts.commits, facts.data, strict=True):
        store.add(Writer(commit.service, commit.instance), data)
    async with running_scheduler(NarrowLog(store, Writer("scheduler", "one"))) as scheduler:
        await eventually(lambda: scheduler.status().placed_total == _DEPLOYMENTS)
