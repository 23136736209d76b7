"""What a deployment needs is the same whether it is seen at a glance or looked into."""

from __future__ import annotations

from unittest.mock import patch

from fogbank.domain.fleet import FleetState
from fogbank.placement import needs
from fogbank.placement.needs import Need, need_of
from tests.support.mixed_story import tell


def test_who_is_complete_at_a_glance_needs_nothing_when_looked_into() -> None:
    state, complete, others = FleetState(), 0, 0
    for commit in tell(23, events=500).log.commits:
        for deployment_id in state.fold(commit).deployments:
            deployment = state.facts.deployments.get(deployment_id)
            if deployment is None:
                continue
            seen = need_of(state, deployment)
            if not seen.unwanted:  # then there is no reason for it
                seen = seen._replace(unwanted_reason="")
            with patch.object(needs, "_complete", lambda *_: False):
                found = need_of(state, deployment)
            assert seen == (found if found.unwanted else found._replace(unwanted_reason=""))
            complete += seen == Need() and deployment_id in state.decisions.deployments
            others += seen != Need()
    assert min(complete, others) > 50, (complete, others)
