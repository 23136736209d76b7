"""Bits that rot are found by the ledger itself, by sequence and store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import structlog.testing

from fogbank.codec.log_evidence import scrub_from_pb
from fogbank.log.port import StoredCommit
from fogbank.v1 import audit_service_pb2 as pb
from services.ledger.adapters.checkpoint_files import CheckpointFolder
from tests.support.audited import audited
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.gateway import signed_in
from tests.support.ledger import Ledger, StoredLog, a_running_ledger, rows_of
from tests.support.waiting import eventually

COMMITS = 40


async def test_the_scrub_names_each_commit_and_its_store_once(url: str, tmp_path: Path) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    for number in range(COMMITS - 1):
        fleet.deploy(a_spec(f"app-{number}"))
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        scrub = ledger.answers.scrub
        sound = await scrub.scrub()
        assert (sound.commits, sound.findings) == (COMMITS, ())
        stored = log.store.commits[6]
        log.store.commits[6] = StoredCommit(7, stored.writer, stored.data[:-1] + b"?")
        rotten = "UPDATE commits SET data = set_byte(data, 9, get_byte(data, 9) # 4)"
        await rows_of(url, f"{rotten} WHERE sequence IN (11, 40)")
        with structlog.testing.capture_logs() as said:
            running = asyncio.create_task(scrub.run())
            await eventually(lambda: scrub.last is not sound, what="the first scrub")
            await scrub.scrub()
            running.cancel()
        found = {finding.sequence: finding.problem for finding in scrub.last.findings}
        assert list(found) == [7, 11, 40]
        assert "the log's commit 7 was changed" in found[7]
        assert "the ledger's copy of commit 11 was changed" in found[11]
        critical = [line["sequence"] for line in said if line["log_level"] == "critical"]
        assert critical == [7, 11, 40]
        async with audited(ledger, log) as audit:
            answer = await audit.GetLogScrub(pb.GetLogScrubRequest(), metadata=signed_in("admin"))
        assert scrub_from_pb(answer) == scrub.last


async def test_checkpoints_that_are_not_to_be_believed_hide_no_commit(
    url: str, tmp_path: Path
) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    for number in range(19):
        fleet.deploy(a_spec(f"app-{number}"))
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        await ledger.answers.evidence.sign()
        await CheckpointFolder(tmp_path).write(3, "forged")
        (tmp_path / "5.checkpoint").mkdir()
        verification = ledger.answers.verification
        (*_, verified) = [part async for part in verification.verify(0, 0)]
        assert (verified.checked, verified.checkpoints, verified.bad_sequence) == (20, 1, 3)
        assert "the checkpoint of 3 commits" in verified.problem
        await rows_of(url, "DELETE FROM commits WHERE sequence = 7")
        (*_, verified) = [part async for part in verification.verify(0, 0)]
        assert verified.bad_sequence == 7
        assert "copy of commit 7 is gone; the checkpoint of 3 commits" in verified.problem
        with structlog.testing.capture_logs() as said:
            found = (await ledger.answers.scrub.scrub()).findings
    assert [finding.sequence for finding in found] == [3, 5, 7]
    assert "the checkpoint of 5 commits can't be read" in found[1].problem
    advice = ["fog audit restore" in line["error"] for line in said]
    assert advice == [False, False, True]
    assert "FOG_CHECKPOINT_KEY_FILE" in said[0]["error"]


async def test_what_is_wrong_in_one_place_is_one_finding_and_hides_nothing_behind_it(
    url: str, tmp_path: Path
) -> None:
    fleet = LittleFleet()
    fleet.connect("fog-0")
    for number in range(COMMITS - 1):
        fleet.deploy(a_spec(f"app-{number}"))
    log = StoredLog()
    log.publish(fleet.log, 20)
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        await ledger.answers.evidence.sign()
        log.publish(fleet.log)
        await ledger.reaches(COMMITS)
        await ledger.answers.evidence.sign()
        sound = list(log.store.commits)
        # One store's commit: the checkpoints around it fit, for the other store has it.
        await rows_of(url, "UPDATE commits SET data = data || 'x' WHERE sequence = 3")
        log.store.commits[8] = StoredCommit(9, sound[8].writer, sound[8].data + b"?")
        assert await scrubbed(ledger) == [3, 9]
        # Nobody can tell who wrote commit 11, so nothing is said of the checkpoints after it.
        await rows_of(url, "UPDATE commits SET instance = instance || '-other' WHERE sequence = 11")
        assert await scrubbed(ledger) == [3, 9, 11]
        # Both stores' commit 15: the checkpoints alone can tell, and the first one does.
        log.store.commits = sound
        await rows_of(url, "UPDATE commits SET instance = replace(instance, '-other', '')")
        data = sound[14].data + b"?"
        log.store.commits[14] = replace(sound[14], data=data)
        await rows_of(
            url,
            f"UPDATE commits SET data = '\\x{data.hex()}', digest = sha256('\\x{data.hex()}') "  # noqa: S608
            "WHERE sequence = 15",
        )
        await rows_of(url, "DELETE FROM commits WHERE sequence = 33")
        assert await scrubbed(ledger) == [3, 1, 33]


async def scrubbed(ledger: Ledger) -> list[int]:
    """Return the sequences that a scrub finds something wrong with."""
    return [found.sequence for found in (await ledger.answers.scrub.scrub()).findings]
