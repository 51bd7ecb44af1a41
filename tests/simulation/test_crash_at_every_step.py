"""A failure at moment 1 of the port calls, then 2, then 3 ... until a scenario passes untouched.

After each failure the shard is taken over, and the histories and effects are those of a run that
nothing befell. What may differ: an eager attempt that died with its process counts as lost and is
retried, the attempts after it have the next numbers, and timers start later.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from processor.errors import LogTruncated

from . import mutations
from .crash_at_every_step import SCENARIOS, Failure, Run, Scenario, compare

STEPS_MIN = 250
"""Each scenario has more moments than this; with fewer, the calls are not counted."""

CALLS = {
    *("append", "acknowledged", "bounds"),  # the log
    *("open", "take"),  # the inbox
    *("send", "delivered", "reply", "publish", "published"),  # the outbox
    *("get", "scan", "write"),  # the store below the tables
    *("place", "start"),  # the activities
}
IN_MEMORY = {"place", "start", "cancel"}
"""They talk to nobody. An error there is a bug, and may cost the process a slot."""

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


def fail_at_every_step(scenario: Scenario, *, killed: bool, fresh: bool) -> set[str]:
    """Return at which calls it failed, once a run has passed untouched."""
    untouched = Run(scenario, Failure(0)).play()
    failed: set[str] = set()
    for step in count(1):
        failure = Failure(step, killed)
        run = Run(scenario, failure, fresh=fresh)
        try:
            compare(run.play(), untouched)
            if failure.call not in IN_MEMORY:
                assert run.slots_are_free, "a slot for activities is lost"
        except BaseException as error:
            error.add_note(f"it failed at moment {step}: {failure.where}")
            raise
        if failure.where is None:
            assert step > STEPS_MIN
            return failed
        failed.add(failure.where)
    raise AssertionError("count() does not end")


def both_moments_of(calls: set[str]) -> set[str]:
    return calls | {f"{call}, after its effect" for call in calls}


@pytest.mark.parametrize("fresh", [True, False], ids=["another host", "the same with its disk"])
@every_scenario
def test_the_process_dies_at_every_step(scenario: Scenario, fresh: bool) -> None:
    failed = fail_at_every_step(scenario, killed=True, fresh=fresh)
    assert failed >= both_moments_of(CALLS - {"send"})


@every_scenario
def test_every_call_raises_an_error(scenario: Scenario) -> None:
    """The process lives: it gives the shard up and takes it over again."""
    failed = fail_at_every_step(scenario, killed=False, fresh=False)
    assert failed >= both_moments_of(CALLS - {"send"})


def test_the_next_owner_dies_too() -> None:
    """At every sixtieth moment of the first process, and then at every one of the second."""
    scenario = SCENARIOS[-1]
    untouched = Run(scenario, Failure(0)).play()
    failed: list[str] = []
    for first in count(40, 60):
        for second in count(1):
            failures = Failure(first), Failure(second)
            try:
                compare(Run(scenario, *failures).play(), untouched, deaths=2)
            except BaseException as error:
                error.add_note(f"it failed at moments {first} and {second}: {failures}")
                raise
            if failures[1].where is None:
                break
            failed.append(failures[1].where)
        if failures[0].where is None:
            assert len(failed) > 3 * STEPS_MIN
            assert set(failed) >= both_moments_of(CALLS) | {"read"}
            return


@pytest.mark.parametrize(
    "switch_off",
    [mutations.store_at_once, mutations.nothing_owed, mutations.nothing_lost],
    ids=lambda mutation: mutation.__name__,
)
def test_it_bites(switch_off: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off(monkeypatch)
    with pytest.raises((AssertionError, LogTruncated)):
        fail_at_every_step(SCENARIOS[-1], killed=True, fresh=False)
