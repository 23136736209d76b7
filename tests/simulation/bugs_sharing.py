"""Mistakes with quotas, in rebalances, and with replicas whose node is cut off."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from fogbank.domain import events as ev
from fogbank.domain import quota_use
from fogbank.domain.decisions import Desired
from fogbank.domain.fleet import FleetState
from fogbank.placement import quotas, rebalance
from fogbank.placement.room import Room
from services.node_agent.core.lifecycle import Lifecycle
from tests.simulation.planting import Patches, bug


@bug
def suspended_counts_in_quotas() -> Patches:
    return [patch.object(quota_use, "COUNTING", quota_use.COUNTING | {Desired.SUSPENDED})]


@bug
def leaving_does_not_count_in_quotas() -> Patches:
    return [patch.object(quota_use, "COUNTING", quota_use.COUNTING - {Desired.LEAVING})]


@bug
def own_bookings_of_the_round_forgotten() -> Patches:
    return [patch.object(Room, "take_quota", lambda *_: None)]


@bug
def raised_quota_unnoticed() -> Patches:
    touch = FleetState._touch_fact

    def blind(self: FleetState, event_id: str, event: Any, folded: Any) -> None:
        if not isinstance(event, ev.ClusterQuotaSet | ev.OrganizationQuotaSet):
            touch(self, event_id, event, folded)

    return [patch.object(FleetState, "_touch_fact", blind)]


@bug
def quota_of_organizations_skipped() -> Patches:
    limits_of = quotas.limits_of

    def partial(fleet: Any, cluster_id: int) -> Any:
        return tuple(
            each for each in limits_of(fleet, cluster_id) if each.owner.startswith("cluster")
        )

    return [
        patch.object(quotas, "limits_of", partial),
        patch("fogbank.placement.agenda.limits_of", partial),
        patch("fogbank.placement.quota_evictions.limits_of", partial),
    ]


@bug
def runs_on_when_cut_off() -> Patches:
    return [patch.object(Lifecycle, "cut_off", lambda *_: None)]


@bug
def rebalance_moves_all_at_once() -> Patches:
    return [patch.object(rebalance, "moving", lambda _: 0)]
