"""What is tried again is tried ever more seldom, and not by all at one moment."""

from __future__ import annotations

from processor.kafka.clients.backoff import Backoff, Pace, Rounds


def test_a_backoff_doubles_to_its_bound_with_jitter() -> None:
    firsts = set()
    for _ in range(20):
        delays = Backoff(1.0, 5.0)
        found = [delays.next_s() for _ in range(5)]
        for delay, most in zip(found, (1, 2, 4, 5, 5), strict=True):
            assert 0.8 * most <= delay <= most
        delays.reset()
        assert delays.next_s() <= 1.0
        firsts.add(found[0])
    assert len(firsts) > 1


def test_a_pace_lets_the_first_try_through_and_slows_down() -> None:
    pace = Pace(1.0, 4.0, calm_s=10.0)
    waits, now = [], 100.0
    for _ in range(5):
        waits.append(pace.wait_s(now))
        now += waits[-1]
        assert not pace.due(now)
    assert waits[0] == 0
    assert all(
        0.8 * most <= wait <= most for wait, most in zip(waits[1:], (1, 2, 4, 4), strict=True)
    )
    now += 20
    assert pace.due(now) and pace.wait_s(now) == 0
    assert pace.wait_s(now) <= 1.0, "it was calm"


def test_those_of_a_round_are_tried_together() -> None:
    rounds = Rounds(1.0, 4.0)
    now = 100.0
    first = rounds.wait_s(now)
    assert 0.8 <= first <= 1.0 and rounds.wait_s(now) == first
    assert 1.6 <= rounds.wait_s(now + first) <= 2.0
