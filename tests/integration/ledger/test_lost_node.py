"""A node of the log's tree that the tables lost is named; nothing else ends by it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import structlog.testing

from services.ledger.adapters.maintenance import rebuild
from services.ledger.app.ports import CopyDamagedError
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec
from tests.support.ledger import StoredLog, a_running_ledger, rows_of
from tests.support.waiting import eventually

COMMITS = 258


def a_story() -> LittleFleet:
    """Return a fleet of whose log the tree has a node that stands for 256 commits."""
    fleet = LittleFleet()
    for number in range(COMMITS):
        fleet.deploy(a_spec(f"app-{number}"))
    return fleet


async def test_a_node_of_the_tree_that_is_gone_is_named_and_the_ledger_goes_on(
    url: str, tmp_path: Path
) -> None:
    fleet, log = a_story(), StoredLog()
    log.publish(fleet.log, COMMITS - 1)
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        evidence = ledger.answers.evidence
        await evidence.sign()
        ((hashed,),) = await rows_of(url, "DELETE FROM tree_nodes RETURNING hash")
        log.publish(fleet.log, COMMITS)
        await ledger.reaches(COMMITS)
        with structlog.testing.capture_logs() as said:
            signing = asyncio.create_task(evidence.run(3600))
            await eventually(lambda: said or signing.done(), what="what it says")
            signing.cancel()
        (line,) = said
        assert line["log_level"] == "warning"
        assert "the commits 1 to 256 (level 8, number 0) is gone" in line["error"]
        assert "`fog audit rebuild` makes it again" in line["error"]
        with pytest.raises(CopyDamagedError, match="level 8, number 0"):
            await anext(ledger.answers.verification.verify(COMMITS, 0))
        await rows_of(url, f"INSERT INTO tree_nodes VALUES (8, 0, '\\x{hashed.hex()}')")  # noqa: S608
        assert (await evidence.sign()).size == COMMITS


async def test_the_scrub_names_a_node_that_is_not_as_it_was_once_and_what_mends_it(
    url: str, tmp_path: Path
) -> None:
    fleet, log = a_story(), StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log, checkpoints=tmp_path) as ledger:
        await ledger.answers.evidence.sign()
        for harm in ("UPDATE tree_nodes SET hash = sha256(hash)", "DELETE FROM tree_nodes"):
            await rows_of(url, harm)
            with structlog.testing.capture_logs() as said:
                (finding,) = (await ledger.answers.scrub.scrub()).findings
            assert finding.sequence == 1
            assert "node over the commits 1 to 256" in finding.problem
            for line in said:
                assert "fog audit rebuild" in line["error"]
                assert "fog audit restore" not in line["error"]
        await rebuild(url, None, lambda *_: None)
        assert (await ledger.answers.scrub.scrub()).findings == ()
