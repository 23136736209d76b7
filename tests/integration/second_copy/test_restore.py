"""The broker's store is lost, cut short or rotten: its log is refilled from the ledger's copy."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fogbank.transparency.tree import leaf_hash, root_of
from tests.support.ledger import rows_of
from tests.support.three_services import SERVICES, ThreeServices
from tests.support.two_stores import (
    Lived,
    an_older_copy,
    another_fleets,
    assert_nothing_lost,
    assert_refused,
    complaints,
    nothing,
)
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(900)]

Harm = Callable[[Lived], Coroutine[Any, Any, tuple[str, ...]]]


def flip_a_bit(store: Path) -> None:
    """Flip a bit in the middle of the largest file that commits lie in."""
    block = max(store.rglob("*.blk"), key=lambda path: path.stat().st_size)
    data = bytearray(block.read_bytes())
    data[len(data) // 2] ^= 16
    block.write_bytes(data)


async def a_flipped_bit(lived: Lived) -> tuple[str, ...]:
    lived.services.put(lived.right)
    flip_a_bit(lived.services.store)
    return (f"lost commit {lived.end},",)


async def told_by_the_ledger(services: ThreeServices, service: str) -> None:
    """Wait until a service heard that the ledger refuses the log.

    One that read the log before the ledger knew ended over it, and a supervisor starts it again.
    """

    def told() -> bool:
        services.start_again()
        complaints = services.complaints(service, "warning")
        return any("the ledger refuses the log" in text for text in complaints)

    await eventually(told, 180, what=f"the {service} waiting for the ledger")


async def root_of_the_copy(lived: Lived) -> str:
    rows = await rows_of(
        lived.services.database_url,
        f"SELECT service, instance, sha256(data) FROM commits WHERE sequence <= {lived.end} "  # noqa: S608
        "ORDER BY sequence",
    )
    return root_of(leaf_hash(*row) for row in rows).hex()


@pytest.mark.parametrize("harm", [nothing, an_older_copy, a_flipped_bit, another_fleets])
async def test_a_broken_log_is_refilled_and_everybody_goes_on(lived: Lived, harm: Harm) -> None:
    services = lived.services
    await harm(lived)
    services.broker.start()
    services.start()
    if harm is a_flipped_bit:
        # The broker shows the log's end and not all that is before it: the ledger finds out.
        await complaints(services, "ledger")
        for service in ("gateway", "scheduler"):
            await told_by_the_ledger(services, service)
    else:
        for service in SERVICES:
            await complaints(services, service)
    if harm is another_fleets:
        (error,) = (await services.restore())[-1:]
        assert "no commit in common with the copy: --replace deletes it" in error["error"]

    found = (await services.restore("--dry-run"))[-1]["report"]
    assert (found["copy_ends_at"], found["lost_in_both"]) == (lived.end, "")
    assert found["missing_in_log"] or found["changed_in_log"]
    await assert_refused(services, "ledger" if harm is a_flipped_bit else "commit")
    # A supervisor that sees one end again and again may end the broker too, and nothing is mended.
    assert services.alive()

    *steps, last = await services.restore("--replace")
    report = last["report"]
    assert {step["step"] for step in steps} == {"comparing", "refilling", "verifying"}
    assert steps[-1]["done"] == steps[-1]["total"] == report["log_ends_at"] == lived.end
    assert report["root"] == await root_of_the_copy(lived)
    assert report["done"] == "refilled the log"
    services.start_again()
    await services.ready()
    await assert_nothing_lost(lived)
    assert (await services.restore("--dry-run"))[-1]["report"]["missing_in_log"] == ""


async def test_what_only_the_broker_had_is_carried_over(lived: Lived) -> None:
    services = lived.services
    # The copy is of an earlier time, and a commit before its end is gone from the broker.
    await rows_of(services.database_url, "UPDATE commits SET data = 'x' WHERE sequence = 3")
    services.broker.start()
    found = (await services.restore())[-1]["report"]
    assert (found["damaged_copies"], found["copies_mended"]) == ("3", 1)
    assert found["done"] == "mended the copy"
    services.start()
    await services.ready()
    await assert_nothing_lost(lived)
