"""A mixed story whose operators command nodes, and whose nodes share names and change them."""

from __future__ import annotations

from fogbank.domain import events as ev
from fogbank.domain.facts import NodeFact
from tests.support.fleet_log import a_fingerprint, an_id
from tests.support.mixed_story import MixedStory

# So many nodes of the fleet there are at least.
_FEWEST = 4


class CommandedStory(MixedStory):
    """Nodes are cordoned, drained, removed and come anew, also under names that others have."""

    def step(self) -> None:
        """Let something happen; every fourth time an operator does something first."""
        if self.chance.random() < 0.25:
            self.command_a_node()
        super().step()

    def command_a_node(self) -> None:
        """Say something of a node, or let one come."""
        node, chance = self._a_node(), self.chance
        event = chance.choice(
            (
                ev.NodeCordoned(node.id, "a new disk"),
                ev.NodeUncordoned(node.id),
                ev.NodeDraining(node.id, self.log.now_us + 60_000_000),
                ev.NodeRemoved(node.id),
                None,
            )
        )
        if event is None or (isinstance(event, ev.NodeRemoved) and len(self._here()) <= _FEWEST):
            self._come(an_id(f"late {self.log.sequence}"))
        else:
            self.count(type(event).__name__)
            self.take(self.log.fact(event))

    def return_a_node(self) -> None:
        """A node comes back, at times under another name."""
        silent = [each for each in self._here() if self._fleet.offline_since_us(each) is not None]
        if silent:
            self._come(self.chance.choice(silent).id)

    def _come(self, node_id: str) -> None:
        name = f"fog-{self.chance.randrange(6)}"
        self.count("nodes of a name that another has or had")
        commit = self.log.fact(ev.NodeConnected(node_id, name, a_fingerprint(cpu=4000)))
        self.log.epochs[node_id] = commit.sequence << 16
        self.take(commit)

    def _here(self) -> list[NodeFact]:
        return [node for node in self._fleet.facts.nodes.values() if not node.removed]

    def _a_node(self) -> NodeFact:
        return self.chance.choice(self._here())
