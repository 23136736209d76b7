"""Rounds derived again by a ledger's process from its copy of the log, asked through a gateway."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest

from fogbank.codec.audit import rederived_from_pb
from fogbank.domain import fleet as fleet_module
from fogbank.domain.envelope import SCHEDULER
from fogbank.domain.rederived import RederivedPart, Verification
from fogbank.v1 import audit_service_pb2 as pb
from tests.support.audited import audited
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.gateway import signed_in
from tests.support.ledger import StoredLog, a_running_ledger, replay_here, rows_of
from tests.support.mixed_story import MixedStory, tell
from tests.support.waiting import eventually


async def verified(
    audit: Any, first: int = 0, last: int = 0, user: str = "admin"
) -> list[RederivedPart]:
    request = pb.VerifyDecisionsRequest(from_sequence=first, to_sequence=last)
    answers = audit.VerifyDecisions(request, metadata=signed_in(user), timeout=120)
    return [rederived_from_pb(answer) async for answer in answers]


def counted(parts: list[RederivedPart]) -> Verification:
    found = Verification()
    for part in parts:
        found.take(part)
    return found


def stored(told: MixedStory) -> StoredLog:
    log = StoredLog()
    log.publish(told.log)
    return log


async def test_every_round_of_a_story_again_also_from_a_snapshot(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not so in a process of its own, hence here.
    monkeypatch.setattr(fleet_module, "DIGEST_EVERY_ROUNDS", 8)
    told = tell(21, events=120, nodes=6)
    log = stored(told)
    rounds = [commit.sequence for commit in told.log.commits if commit.service == SCHEDULER]
    async with (
        a_running_ledger(url, log, replay=replay_here) as ledger,
        audited(ledger, log) as audit,
    ):
        first, *parts = await verified(audit)
        assert (first.sequence, first.span.rounds) == (0, len(rounds))
        assert len(parts) > 2  # so that a user sees that it goes on
        found = counted(parts)
        assert found.clean
        assert found.checked == len(rounds)
        assert found.void
        assert found.commits == log.last

        async def kept() -> list[int]:
            return [row[0] for row in await rows_of(url, "SELECT position FROM snapshots")]

        await eventually(kept, what="a snapshot")
        # From the middle: only what lies behind a snapshot is read.
        begin = min(await kept())
        parts = await verified(audit, begin + 1)
        assert {part.span.begun_after for part in parts[1:]} == {begin}
        assert counted(parts).checked == sum(sequence > begin for sequence in rounds)
        assert counted(parts).clean
        # What doesn't verify is not begun with.
        await rows_of(url, "UPDATE snapshots SET digest = sha256('other')")
        parts = await verified(audit, begin + 1, log.last - 1)
        assert {part.span.begun_after for part in parts} == {0}
        assert counted(parts).clean


async def test_a_difference_is_told_term_by_term_and_older_engines_as_unverifiable(
    url: str,
) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    fleet.deploy(a_spec())
    fleet.settle()
    fleet.deploy(a_spec())
    decided = fleet.planner.decide(fleet.log.now_us)
    assert decided is not None
    forged = fleet.fold(fleet.log.round(replace(decided.event, raised=("nobody",))))
    fleet.deploy(a_spec())
    other = fleet.planner.decide(fleet.log.now_us)
    assert other is not None
    older = fleet.log.round(replace(other.event, engine=99))
    log = StoredLog()
    log.publish(fleet.log)
    async with (
        a_running_ledger(url, log, replay=replay_here) as ledger,
        audited(ledger, log) as audit,
    ):
        found = counted(await verified(audit))
        (different,) = found.different
        assert different.sequence == forged.sequence
        assert [str(term) for term in different.terms] == [
            "raised[0]: derived nothing, logged 'nobody'"
        ]
        assert (found.same, found.unverifiable) == (1, {99: 1})
        assert counted(await verified(audit, older.sequence)).clean


async def test_who_may_not_and_what_there_is_not(url: str) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    log = StoredLog()
    log.publish(fleet.log)

    async def refused(first: int, last: int, user: str = "admin") -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await verified(audit, first, last, user)
        return caught.value.code(), caught.value.details() or ""

    async with (
        a_running_ledger(url, log, replay=replay_here) as ledger,
        audited(ledger, log) as audit,
    ):
        assert (await refused(0, 0, "alice"))[0] is grpc.StatusCode.PERMISSION_DENIED
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        end = log.last
        assert await refused(0, end + 1) == (
            invalid,
            f"to_sequence: must be at most {end}, the log's last sequence, was {end + 1}",
        )
        assert await refused(end + 1, 0) == (
            invalid,
            f"from_sequence: must be at most {end}, the span's last sequence, was {end + 1}",
        )
        assert (await refused(-1, 0))[0] is invalid
        assert counted(await verified(audit)).checked == 0


async def test_damage_to_the_copy_is_named(url: str) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    fleet.deploy(a_spec())
    fleet.settle()
    log = StoredLog()
    log.publish(fleet.log)
    async with (
        a_running_ledger(url, log, replay=replay_here) as ledger,
        audited(ledger, log) as audit,
    ):
        # The type of its event is none that any release knows; then it is as it was.
        other_type = "overlay(data placing 'w' from position('fogbank.v1'::bytea in data) + 8)"
        await rows_of(url, f"UPDATE commits SET data = {other_type} WHERE sequence = 2")  # noqa: S608
        with pytest.raises(grpc.aio.AioRpcError, match="copy of commit 2 is damaged"):
            await verified(audit)
        its_type = other_type.replace("'w'", "'v'").replace(".v1'", ".w1'")
        await rows_of(url, f"UPDATE commits SET data = {its_type} WHERE sequence = 2")  # noqa: S608
        assert counted(await verified(audit)).checked == 1

        await rows_of(url, "UPDATE commits SET digest = sha256('other') WHERE sequence = 2")
        with pytest.raises(grpc.aio.AioRpcError, match="copy of commit 2 is damaged") as caught:
            await verified(audit)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        await rows_of(url, "DELETE FROM commits WHERE sequence = 2")
        with pytest.raises(grpc.aio.AioRpcError, match="copy of commit 2 is gone"):
            await verified(audit)


async def test_the_ledger_goes_on_projecting_meanwhile(url: str) -> None:
    told = tell(22, events=100, nodes=4)
    log = StoredLog()
    log.publish(told.log, upto=len(told.log.commits) - 1)
    async with a_running_ledger(url, log) as ledger, audited(ledger, log) as audit:
        request = pb.VerifyDecisionsRequest()
        answers = audit.VerifyDecisions(request, metadata=signed_in("admin"), timeout=120)
        await answers.read()
        await answers.read()
        log.publish(told.log)
        await ledger.reaches(log.last)
        # Who goes away in the middle leaves no process behind that others would wait for.
        answers.cancel()
        one, other = await asyncio.gather(verified(audit), verified(audit))
        assert one == other
        assert counted(one).commits == log.last
