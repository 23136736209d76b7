"""Which nodes were silent for too long.

Instants here are of a monotonic clock, in microseconds: a clock that is set must not make nodes
silent. Silence counts only while this scheduler is known to listen: when it starts, and when it
could not have heard anything for longer than a heartbeat period (it stood still, or the broker
did), every node's time begins anew.
"""

from __future__ import annotations

from fogbank.domain.events import NodeSilence
from fogbank.domain.fleet import FleetState

_MS = 1_000
_NEVER_US = 1 << 62


class Liveness:
    """When each node was last heard of, in its current epoch."""

    def __init__(self) -> None:
        """Begin with nobody heard of."""
        self._heard: dict[str, tuple[int, int]] = {}
        # When it was last known that what is said arrives here; None before the first time.
        self._listened_us: int | None = None
        # No node is silent for as long as this before then: signs of life only put it off.
        # Looking at every node before every round would take longer than deciding it.
        self._quiet_until_us = 0
        self._quiet_bound_us = 0

    def heard(self, node_id: str, epoch: int, at_us: int) -> None:
        """Note a sign of life; one of an older epoch than known does not count."""
        known = self._heard.get(node_id)
        if known is None or epoch > known[0] or (epoch == known[0] and at_us > known[1]):
            self._heard[node_id] = (epoch, at_us)
            if self._quiet_until_us >= _NEVER_US:
                self._quiet_until_us = 0

    def listens(self, fleet: FleetState, at_us: int) -> bool:
        """Note that what is said arrives; tell whether that was unknown for too long until now.

        Then every node's time has begun anew.
        """
        was_deaf = self._is_deaf(fleet, at_us)
        self._listened_us = at_us
        if was_deaf:
            self.restart(fleet, at_us)
        return was_deaf

    def ask_at_us(self, fleet: FleetState) -> int:
        """Return from when on it is to be found out whether what is said arrives."""
        return (self._listened_us or 0) + _period_us(fleet) // 2

    def _is_deaf(self, fleet: FleetState, at_us: int) -> bool:
        return self._listened_us is None or at_us - self._listened_us > _period_us(fleet)

    def restart(self, fleet: FleetState, at_us: int) -> None:
        """Start every node's time anew."""
        self._listened_us = at_us
        for node in fleet.facts.nodes.values():
            self.heard(node.id, node.epoch, at_us)

    def silences(
        self, fleet: FleetState, at_us: int, wall_offset_us: int
    ) -> tuple[NodeSilence, ...]:
        """Return the nodes that missed too many heartbeats and are not yet offline.

        `wall_offset_us` is what to add to monotonic instants to get wall clock time. Who does not
        listen knows of none.
        """
        if self._is_deaf(fleet, at_us):
            return ()
        bound_us = silent_after_us(fleet)
        if at_us < self._nobody_before_us(fleet, bound_us, at_us):
            return ()
        return tuple(
            NodeSilence(node.id, node.epoch, heard_us + wall_offset_us)
            for node in fleet.facts.nodes.values()
            if (heard_us := self._heard_us(node.id, node.epoch)) is not None
            and at_us - heard_us >= bound_us
            and fleet.offline_since_us(node) is None
            and not node.removed
        )

    def next_silence_us(self, fleet: FleetState, at_us: int) -> int | None:
        """Return an instant before which no node is silent for too long.

        None without nodes, or for as long as this scheduler does not listen.
        """
        if self._is_deaf(fleet, at_us):
            return None
        until_us = self._nobody_before_us(fleet, silent_after_us(fleet), at_us)
        return until_us if until_us < _NEVER_US else None

    def _nobody_before_us(self, fleet: FleetState, bound_us: int, at_us: int) -> int:
        if at_us >= self._quiet_until_us or bound_us < self._quiet_bound_us:
            self._quiet_bound_us = bound_us
            self._quiet_until_us = min(
                (
                    heard_us + bound_us
                    for node in fleet.facts.nodes.values()
                    if (heard_us := self._heard_us(node.id, node.epoch)) is not None
                    and fleet.offline_since_us(node) is None
                    and not node.removed
                ),
                default=_NEVER_US,
            )
        return self._quiet_until_us

    def heard_in_time(self, fleet: FleetState, at_us: int) -> int:
        """Return how many nodes were heard of in time."""
        bound_us = silent_after_us(fleet)
        return sum(
            heard_us is not None and at_us - heard_us < bound_us and not node.removed
            for node in fleet.facts.nodes.values()
            for heard_us in (self._heard_us(node.id, node.epoch),)
        )

    def _heard_us(self, node_id: str, epoch: int) -> int | None:
        known = self._heard.get(node_id)
        return known[1] if known is not None and known[0] == epoch else None


def silent_after_us(fleet: FleetState) -> int:
    """Return the silence, in microseconds, after which a node is offline."""
    return fleet.facts.policy.silent_periods * _period_us(fleet)


def _period_us(fleet: FleetState) -> int:
    return fleet.facts.policy.heartbeat_period_for_ms(fleet.node_count) * _MS
