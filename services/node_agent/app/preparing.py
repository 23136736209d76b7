"""Tells how far the fetching of an image is, at a rate that a log can take."""

from __future__ import annotations

from collections.abc import Callable

from services.node_agent.app.ports import BootClock

_US_PER_S = 1_000_000


class ProgressReports:
    """Passes on what is new about one replica, at most once in a period.

    What is over within the first period is not worth a word, but for what is `told`.
    """

    def __init__(self, post: Callable[[str], None], up_us: BootClock, every_s: float) -> None:
        self._post = post
        self._up_us = up_us
        self._every_us = round(every_s * _US_PER_S)
        self._last_us = up_us()
        self._last = ""

    def note(self, text: str) -> None:
        """Take in how far it is."""
        if text != self._last and self._up_us() - self._last_us >= self._every_us:
            self.tell(text)

    def tell(self, text: str) -> None:
        """Pass on what is to be known in any case."""
        self._last, self._last_us = text, self._up_us()
        self._post(text)
