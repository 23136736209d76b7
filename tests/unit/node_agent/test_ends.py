"""What is said of a container's end."""

import pytest

from services.node_agent.core.restarts import end_in_words


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (-1, "ended with exit code -1"),
        (0, "ended with exit code 0"),
        (128, "ended with exit code 128"),
        (137, "ended with exit code 137 (SIGKILL)"),
        (143, "ended with exit code 143 (SIGTERM)"),
        (255, "ended with exit code 255"),
    ],
)
def test_an_end_by_a_signal_names_it(exit_code: int, words: str) -> None:
    assert end_in_words(exit_code) == words
