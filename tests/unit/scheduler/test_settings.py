"""The scheduler's settings, those of the documents included."""

import pytest

from fogbank.runtime.settings import load
from services.scheduler.settings import SchedulerSettings


@pytest.mark.parametrize("name", ["QUEUE_TIMEOUT", "FOG_QUEUE_TIMEOUT_S"])
def test_the_longest_pause_has_two_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert load(SchedulerSettings).queue_timeout_s == 3_600

    monkeypatch.setenv(name, "1.0")

    assert load(SchedulerSettings).queue_timeout_s == 1.0


def test_the_projects_own_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_TIMEOUT", "1.0")
    monkeypatch.setenv("FOG_QUEUE_TIMEOUT_S", "2.5")

    assert load(SchedulerSettings).queue_timeout_s == 2.5
