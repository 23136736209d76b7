"""Another policy's decisions on the ledger's copy of the log, asked through a gateway."""

from __future__ import annotations

from typing import Any

import grpc.aio
import pytest

from fogbank.codec.comparison import compared_from_pb
from fogbank.codec.policies import policy_to_pb
from fogbank.domain import fleet as fleet_module
from fogbank.domain.comparison import ComparedPart
from fogbank.domain.named_policies import NAMED_POLICIES
from fogbank.v1 import audit_service_pb2 as pb
from tests.support.audited import audited
from tests.support.gateway import signed_in
from tests.support.ledger import StoredLog, a_running_ledger, replay_here, rows_of
from tests.support.mixed_story import tell
from tests.support.waiting import eventually


async def compared(audit: Any, user: str = "admin", **asked: Any) -> list[ComparedPart]:
    request = pb.CompareReplayRequest(**asked)
    answers = audit.CompareReplay(request, metadata=signed_in(user), timeout=120)
    return [compared_from_pb(answer) async for answer in answers]


async def test_a_story_by_another_policy_also_from_a_snapshot(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not so in a process of its own, hence here.
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 8)
    told = tell(21, events=120, nodes=6)
    log = StoredLog()
    log.publish(told.log)
    async with (
        a_running_ledger(url, log, replay=replay_here) as ledger,
        audited(ledger, log) as audit,
    ):
        first, *parts = await compared(audit, policy_name="binpack")
        assert (first.sequence, first.span.last) == (0, log.last)
        assert len(parts) > 2  # so that a user sees that it goes on
        assert [part.sequence for part in parts] == sorted(part.sequence for part in parts)
        last = parts[-1]
        assert last.sequence == log.last
        assert last.actual["replicas_placed"] > 0 < last.alternative["replicas_placed"]
        assert 0 < last.differing <= last.deployments
        # The whole policy comes to what its name does.
        whole = policy_to_pb(NAMED_POLICIES["binpack"])
        assert (await compared(audit, policy=whole))[-1] == last

        async def kept() -> list[int]:
            return [row[0] for row in await rows_of(url, "SELECT position FROM snapshots")]

        await eventually(kept, what="a snapshot")
        begin = min(await kept())
        from_snapshot = (await compared(audit, policy_name="spread", from_sequence=begin + 1))[-1]
        assert from_snapshot.span.begun_after == begin
        await rows_of(url, "DELETE FROM snapshots")
        from_start = (await compared(audit, policy_name="spread", from_sequence=begin + 1))[-1]
        assert from_start.span.begun_after == 0
        assert from_start.actual == from_snapshot.actual
        assert from_start.alternative == from_snapshot.alternative
        assert from_start.differences == from_snapshot.differences


async def test_what_it_is_not_asked_for(url: str) -> None:
    told = tell(3, events=10, nodes=2)
    log = StoredLog()
    log.publish(told.log)
    async with (
        a_running_ledger(url, log, replay=replay_here) as ledger,
        audited(ledger, log) as audit,
    ):
        for user, asked, code, words in (
            ("alice", {"policy_name": "spread"}, grpc.StatusCode.PERMISSION_DENIED, "."),
            ("admin", {}, grpc.StatusCode.INVALID_ARGUMENT, "policy: must be given whole, or by"),
            ("admin", {"policy_name": "x"}, grpc.StatusCode.NOT_FOUND, "known are balanced, bin"),
            (
                "admin",
                {"policy": {"name": "mine", "strategy": "x"}},
                grpc.StatusCode.INVALID_ARGUMENT,
                "policy.strategy must be",
            ),
            (
                "admin",
                {"policy_name": "spread", "to_sequence": log.last + 1},
                grpc.StatusCode.INVALID_ARGUMENT,
                f"to_sequence: must be at most {log.last}",
            ),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=words) as caught:
                await compared(audit, user, **asked)
            assert caught.value.code() is code
