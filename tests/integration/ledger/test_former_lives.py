"""Deployments that were forgotten and created anew: each life is shown as it was."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from fogbank.domain import events as ev
from fogbank.domain.errors import NotFoundError
from fogbank.domain.forgetting import KEPT_DELETED_US
from fogbank.domain.states import DeploymentStatus
from fogbank.domain.tenancy import Quota
from fogbank.domain.views import Moment
from services.ledger.adapters.maintenance import rebuild
from services.ledger.app.ports import DeploymentFilter
from services.ledger.app.queries import Wait
from tests.support.fleet import LittleFleet
from tests.support.fleet_log import a_spec, an_id
from tests.support.ledger import StoredLog, a_running_ledger, replay_here, rows_of
from tests.support.limited_fleet import a_fleet

NOW = Wait()
EVERY = DeploymentFilter(limit=1_000, statuses=tuple(DeploymentStatus))


def three_lives(fleet: LittleFleet, deployment_id: str) -> None:
    """Let a deployment be renamed and moved, deleted and forgotten, and created anew, twice."""
    for life in ("first", "second", "third"):
        fleet.fold(fleet.log.deploy(a_spec(name=life), deployment_id)[1])
        fleet.settle()
        fleet.update(deployment_id, a_spec(name=f"{life} renamed"))
        fleet.update(deployment_id, a_spec(name=f"{life} renamed", cluster_id=2))
        fleet.obey()
        fleet.fact(ev.DeploymentDeleted(deployment_id))
        fleet.settle()
        fleet.obey()
        fleet.log.pass_ms(KEPT_DELETED_US // 1_000)
        fleet.deploy(a_spec(name=f"beside the {life}"))
        fleet.settle()


@pytest.mark.parametrize("at_once", [False, True])
async def test_former_names_clusters_and_lives_are_told_as_they_were(
    url: str, at_once: bool
) -> None:
    fleet = a_fleet(Quota())
    three_lives(fleet, an_id("again"))
    filters = (EVERY, replace(EVERY, cluster_id=2), replace(EVERY, name_contains="renamed"))
    log, then, whole = StoredLog(), {}, {}
    log.publish(fleet.log, upto=1)
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        queries = ledger.answers.queries
        for sequence in range(2, len(fleet.log.commits) + 1):
            log.publish(fleet.log, upto=sequence)
            await ledger.reaches(sequence)
            told = [await queries.deployments(wanted, NOW) for wanted in filters]
            then[sequence] = told
            with suppress(NotFoundError):
                whole[sequence] = await queries.deployment(an_id("again"), "", NOW)
        for shown in whole.values():
            # Of its own life only, from its creation on.
            *later, first = shown.value.recent_changes
            assert first.old is None
            assert all(change.old for change in later)
        assert len({each.value.recent_changes[-1] for each in whole.values()}) == 3
        assert {view.spec.name for told in then.values() for view in told[0].value.items} >= {
            f"{life}{more}" for life in ("first", "second", "third") for more in ("", " renamed")
        }
    former = "SELECT * FROM former_deployments ORDER BY deployment_id, until_sequence"
    kept = await rows_of(url, former)
    assert len(kept) == 8
    if at_once:
        # Copied in as one large batch, with all lives in it.
        await rows_of(url, "TRUNCATE former_deployments")
        assert (await rebuild(url, None, lambda *_: None)).differed["former_deployments"] == 8
        assert await rows_of(url, former) == kept
    async with a_running_ledger(url, log, replay=replay_here) as ledger:
        for sequence, told in then.items():
            moment = Moment(sequence)
            for wanted, now in zip(filters, told, strict=True):
                found = await ledger.answers.queries.deployments(wanted, NOW, moment)
                assert found == now, sequence
        for sequence, shown in whole.items():
            moment = Moment(sequence)
            alone = await ledger.answers.queries.deployment(an_id("again"), "", NOW, moment)
            assert alone == shown, sequence
