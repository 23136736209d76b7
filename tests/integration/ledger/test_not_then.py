"""What was not there at a past moment is told with when it was: to those who may see it."""

from __future__ import annotations

import pytest

from fogbank.domain import events as ev
from fogbank.domain.errors import NotFoundError
from fogbank.domain.views import Moment
from services.ledger.app.queries import Wait
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import OWNER, a_spec, an_id
from tests.support.ledger import StoredLog, a_running_ledger, replay_here

NOW = Wait()


async def test_it_is_told_when_it_was_created_added_or_removed(url: str) -> None:
    fleet = LittleFleet()
    fleet.connect("first")
    begin = fleet.planner.fleet.position
    web = fleet.deploy(a_spec("web"))
    created = fleet.planner.fleet.position
    node = fleet.connect("late")
    added = fleet.planner.fleet.position
    fleet.fact(ev.NodeRemoved(node))
    removed = fleet.planner.fleet.position
    log = StoredLog()
    log.publish(fleet.log)
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        await ledger.reaches(log.last)
        queries = ledger.answers.queries
        for owner in ("", OWNER):
            with pytest.raises(NotFoundError) as missed:
                await queries.deployment(web, owner, NOW, Moment(begin))
            assert missed.value.reason == "DEPLOYMENT_NOT_FOUND"
            assert missed.value.message.startswith(
                f"Deployment not found at log sequence {begin}: it was created by commit {created} "
            )
        for id_, owner in ((web, an_id("somebody")), (an_id("never"), ""), ("no id", "")):
            with pytest.raises(NotFoundError, match=r"^Deployment not found$"):
                await queries.deployment(id_, owner, NOW, Moment(begin))
        for called in ("late", node):
            with pytest.raises(NotFoundError, match=rf"{created}: it was added by commit {added} "):
                await queries.node(called, NOW, Moment(created))
        with pytest.raises(NotFoundError, match=rf"it was removed by commit {removed} at"):
            await queries.node("late", NOW, Moment(removed))
        with pytest.raises(NotFoundError, match=r"^Node not found$"):
            await queries.node("never", NOW, Moment(removed))
