"""Mistakes in deciding and in node agents."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from fogbank.placement import looks, movements, needs, placements, room
from services.node_agent.core.agent import AgentCore
from services.node_agent.core.kept import Kept, ReportsAcknowledged
from services.node_agent.core.lifecycle import Lifecycle
from services.scheduler.core.leadership import Leadership
from tests.simulation.machines import SimDisk
from tests.simulation.planting import Patches, bug

# --- placement --------------------------------------------------------------------------------


@bug
def room_released_before_the_end() -> Patches:
    return [patch.object(placements, "_starts_after", lambda *_: ())]


@bug
def placed_in_part() -> Patches:
    place = looks.place

    def partly(
        fleet: Any, left: Any, deployment: Any, slots: Any, instant_us: int, **some: int
    ) -> Any:
        found = place(fleet, left, deployment, slots, instant_us, **some)
        if isinstance(found, room.Shortage) and len(slots) > 1:
            return place(fleet, left, deployment, slots[:1], instant_us)
        return found

    return [patch.object(looks, "place", partly)]


@bug
def memory_not_booked() -> Patches:
    begin = room.Room.begin

    def blind(self: room.Room) -> None:
        begin(self)
        self._booked[1, :] = 0
        self._forget_plain(range(self.arrays.size))

    return [patch.object(room.Room, "begin", blind)]


@bug
def deleted_runs_on() -> Patches:
    unwanted = needs._unwanted

    def blind(fleet: Any, decision: Any, wanted: int) -> tuple[str, ...]:
        return unwanted(fleet, decision, wanted) if wanted else ()

    return [patch.object(needs, "_unwanted", blind)]


@bug
def returned_never_settled() -> Patches:
    return [patch.object(needs, "_returned", lambda *_: ())]


@bug
def lost_nodes_never_replaced() -> Patches:
    return [patch.object(movements, "losses", lambda *_: [])]


@bug
def broken_never_replaced() -> Patches:
    return [patch.object(needs, "_reschedule_at_us", lambda *_: 1 << 60)]


@bug
def leader_for_ever() -> Patches:
    def stubborn(self: Leadership, now_us: int) -> int:
        return now_us if self.leading or not self.leader else now_us + 3_600_000_000

    return [patch.object(Leadership, "may_decide_at_us", stubborn)]


# --- node agent -------------------------------------------------------------------------------


@bug
def starts_before_the_end() -> Patches:
    return [patch.object(Kept, "must_wait", lambda *_: False)]


@bug
def reports_not_repeated() -> Patches:
    welcome = AgentCore._welcome

    def forgetful(self: AgentCore, stimulus: Any, now_us: int) -> None:
        self._workings.keep(ReportsAcknowledged(self._kept.last_number))
        welcome(self, stimulus, now_us)

    return [
        patch.object(AgentCore, "_welcome", forgetful),
        patch.object(Lifecycle, "report_all_again", lambda _: None),
    ]


@bug
def unlisted_runs_on() -> Patches:
    return [patch.object(Lifecycle, "keep_only", lambda *_: None)]


@bug
def disk_not_synced() -> Patches:
    load = SimDisk.load

    async def forgetful(self: SimDisk) -> Any:
        del self._machine.journal[-3:]
        return await load(self)

    return [patch.object(SimDisk, "load", forgetful)]


@bug
def containers_not_looked_for() -> Patches:
    boot = Lifecycle.boot

    def blind(self: Lifecycle, containers: Any, boot_id: str, now_us: int) -> None:
        boot(self, (), boot_id, now_us)

    return [patch.object(Lifecycle, "boot", blind)]
