"""Collects what one stimulus leads to."""

from __future__ import annotations

from services.node_agent.core.effects import Effect, Save
from services.node_agent.core.kept import Entry, Kept, apply


class Workings:
    """The durable state, and what is to be saved and done because of the current stimulus."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self._entries: list[Entry] = []
        self._urgent = False
        self._effects: list[Effect] = []

    def keep(self, entry: Entry, *, urgent: bool = True) -> None:
        """Change the state, and have the change saved."""
        apply(self.kept, entry)
        self._entries.append(entry)
        self._urgent = self._urgent or urgent

    def ask(self, effect: Effect) -> None:
        """Have something done, after what was saved so far."""
        self._effects.append(effect)

    def take(self) -> list[Effect]:
        """Return what was collected, saves first, and begin anew."""
        effects = self._effects
        if self._entries:
            effects = [Save(tuple(self._entries), self._urgent), *effects]
        self._entries, self._effects, self._urgent = [], [], False
        return effects
