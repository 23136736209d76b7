"""How long the agent waits before it dials again."""

from random import Random

from services.node_agent.app.session import Backoff


def test_pauses_between_dials_double_up_to_the_longest() -> None:
    backoff, random = Backoff(first_s=0.2, longest_s=10), Random(1)
    for failures in range(12):
        full = min(10.0, 0.2 * 2**failures)
        pauses = [backoff.pause_s(failures, random) for _ in range(50)]
        assert all(full / 2 <= pause <= full for pause in pauses)
        assert len(set(pauses)) > 1


def test_a_pause_is_shorter_than_what_makes_a_node_look_silent() -> None:
    backoff, random = Backoff(first_s=0.2, longest_s=10), Random(1)
    assert max(backoff.pause_s(20, random, 5) for _ in range(50)) <= 2.5
    assert max(backoff.pause_s(20, random, 60) for _ in range(50)) > 5
    assert min(backoff.pause_s(20, random, 0.02) for _ in range(50)) >= 0.1


def test_who_was_sent_away_comes_back_after_what_was_asked_for_but_not_with_the_others() -> None:
    random, backoff = Random(1), Backoff(first_s=0.2, longest_s=10)
    pauses = [backoff.pause_s(0, random, heartbeat_period_s=5, asked_for_s=3) for _ in range(100)]
    assert 3 <= min(pauses) < 3.5
    assert 5.5 < max(pauses) <= 6


def test_the_patience_for_a_welcome_grows_to_an_end() -> None:
    assert [Backoff(welcome_s=15).patience_s(failures) for failures in (0, 1, 2, 9)] == [
        *(15, 30, 60, 60)
    ]
