"""A disk that refuses what the system can do without: it goes on, and its user is told."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class DiskTrouble:
    """Tells of each trouble once, for as long as it lasts."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lasting: set[str] = set()

    @contextmanager
    def borne(self, what: str) -> Iterator[None]:
        """Go on after an OSError in the context; `what` says what isn't done then."""
        try:
            yield
        except OSError as error:
            if what not in self._lasting:
                self._lasting.add(what)
                self._tell(f"{what}: {error}")
        else:
            self._lasting.discard(what)
