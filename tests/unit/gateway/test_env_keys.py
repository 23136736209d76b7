"""Which environments are still needed."""

from dataclasses import replace

from fogbank.domain import events as ev
from fogbank.domain.fleet import FleetState
from services.gateway.core.env_keys import needed_env_keys
from tests.support.fleet_log import OWNER, LittleLog, a_spec, an_id

DAY_MS = 24 * 3600 * 1_000


def test_all_kept_revisions_need_theirs_until_a_day_after_the_end() -> None:
    log, fleet = LittleLog(), FleetState()
    web, gone = an_id("web"), an_id("gone")
    fleet.fold(log.fact(ev.DeploymentCreated(a_spec(), OWNER, "first"), web))
    fleet.fold(log.fact(ev.DeploymentCreated(a_spec("other"), OWNER, "short"), gone))
    changed = replace(a_spec(), container_image="nginx:1.27")
    fleet.fold(log.fact(ev.DeploymentUpdated(web, changed, "second")))
    assert needed_env_keys(fleet.facts) == {"first", "second", "short"}
    fleet.fold(log.fact(ev.DeploymentDeleted(gone)))
    log.pass_ms(DAY_MS - 1)
    fleet.fold(log.connect("fog-1")[1])
    assert "short" in needed_env_keys(fleet.facts)
    log.pass_ms(1)
    fleet.fold(log.connect("fog-2")[1])
    assert needed_env_keys(fleet.facts) == {"first", "second"}
