"""A failure at moment 1 of the port calls, then 2, then 3 ... until a scenario passes untouched.

After each failure the shard is taken over, and the histories, the effects and the tables are those
of a run that nothing befell. What may differ: an eager attempt that died with its process counts as
lost and is retried, the attempts after it have the next numbers, and timers start later.

    EVERY_STEP=1 python -m pytest tests/simulation/test_crash_at_every_step.py      # nightly

By default a part of the steps is enough: of those that differ for the world outside, or for the
code, so many, and with them each call.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

import pytest

from processor.errors import LogTruncated
from processor.shard.turns.deciding import Deciding

from . import switches_calls, switches_cleaning, switches_log, switches_once
from .crash_at_every_step import IN_MEMORY, SCENARIOS, Failure, Run, Scenario, Watch, compare

EVERY_STEP = "EVERY_STEP" in os.environ
MOST = None if EVERY_STEP else 16
"""So many steps of each scenario, besides one of each call."""

STEPS_MIN = 250
"""Each scenario has more moments than this; with fewer, the calls are not counted."""

CALLS = {
    *("append", "acknowledged", "bounds"),  # the log
    *("open", "take"),  # the inbox
    *("delivered", "reply", "publish", "published"),  # the outbox
    *("get", "scan", "write"),  # the store below the tables
}
"""What every scenario calls. Most of them also start activities here, and send."""

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
nightly = pytest.mark.timeout(3_600 if EVERY_STEP else 180)


def fail_at_every_step(
    scenario: Scenario,
    *,
    killed: bool = True,
    fresh: bool = True,
    cleans: bool = False,
    arrives: bool | None = None,
    most: int | None = MOST,
    seed: int = 0,
) -> set[str]:
    """Return at which calls it failed."""
    watch = Watch()
    untouched = Run(scenario, watch).play()
    assert set(untouched.letters.values()) <= {1}, "letters are written once"
    assert watch.moments > STEPS_MIN
    failed: set[str] = set()
    for step in watch.cases(killed=killed, most=most, seed=seed):
        failure = Failure(step, killed, arrives)
        run = Run(scenario, failure, fresh=fresh, cleans=cleans)
        try:
            compare(run.play(), untouched)
            if failure.call not in IN_MEMORY:
                assert run.slots_are_free, "a slot for activities is lost"
        except BaseException as error:
            error.add_note(f"it failed at moment {step}: {failure.where}")
            raise
        assert failure.where is not None
        failed.add(failure.where)
    return failed


def both_moments_of(calls: set[str]) -> set[str]:
    return calls | {f"{call}, after its effect" for call in calls}


def scenario_named(name: str) -> Scenario:
    [scenario] = [each for each in SCENARIOS if each.name == name]
    return scenario


@nightly
@pytest.mark.parametrize(
    ("fresh", "cleans"),
    [(True, False), (True, True), (False, False)],
    ids=["another host", "another host with a cleaned log", "the same with its disk"],
)
@every_scenario
def test_the_process_dies_at_every_step(scenario: Scenario, fresh: bool, cleans: bool) -> None:
    seed = 2 * fresh + cleans
    failed = fail_at_every_step(scenario, fresh=fresh, cleans=cleans, seed=seed)
    assert failed >= both_moments_of(CALLS)


@nightly
@every_scenario
def test_every_call_raises_an_error(scenario: Scenario) -> None:
    """The process lives: it gives the shard up and takes it over again."""
    failed = fail_at_every_step(scenario, killed=False, fresh=False)
    assert failed >= both_moments_of(CALLS)


def test_the_log_fails_where_one_run_follows_another() -> None:
    """An append that raised an error is not made again: it may be there."""
    scenario = scenario_named("goes on")
    watch = Watch()
    untouched = Run(scenario, watch).play()
    steps = watch.within("append", Deciding.begin.__code__)
    assert len(steps) > 2
    for step in steps:
        failure = Failure(step, killed=False)
        compare(Run(scenario, failure, fresh=False).play(), untouched)


@nightly
@pytest.mark.parametrize("killed", [True, False], ids=["it dies", "an error"])
@pytest.mark.parametrize("name", ["parent, updated", "replaced", "refused", "purged"])
def test_what_is_under_way_arrives_at_every_step(name: str, killed: bool) -> None:
    """So the end of a run is in the log, for example, and the start of its successor is not."""
    fail_at_every_step(scenario_named(name), killed=killed, fresh=killed, arrives=True)


def test_all_calls_fail_somewhere() -> None:
    watches = []
    for scenario in SCENARIOS:
        watches.append(Watch())
        Run(scenario, watches[-1]).play()
    failed = set[str]().union(*(watch.calls for watch in watches))
    assert failed >= both_moments_of(CALLS | {"send", "place", "start", "cancel"})


@nightly
def test_the_next_owner_dies_too() -> None:
    """At every sixtieth moment of the first process, and then at every one of the second."""
    scenario = scenario_named("two shards")
    untouched = Run(scenario, Failure(0)).play()
    failed: list[str] = []
    for first in count(40, 60):
        watch = Watch()
        Run(scenario, Failure(first), watch).play()
        if not watch.moments:
            break
        for second in watch.cases(killed=True, most=MOST and MOST // 4, seed=first):
            failures = Failure(first), Failure(second)
            try:
                compare(Run(scenario, *failures).play(), untouched, deaths=2)
            except BaseException as error:
                error.add_note(f"it failed at moments {first} and {second}: {failures}")
                raise
            assert failures[1].where is not None
            failed.append(failures[1].where)
    assert len(failed) > 3 * (MOST or STEPS_MIN)
    assert set(failed) >= both_moments_of(CALLS | {"send", "place", "start"}) | {"read"}


@pytest.mark.parametrize("held_from", range(6))
def test_what_waits_to_be_published_outlives_its_process(held_from: int) -> None:
    """Its publisher stands still while the run goes on, and gives up what it does not need."""
    scenario = scenario_named("snapshots")
    untouched = Run(scenario, Failure(0)).play()
    for ends_at in range(held_from + 1, 7):
        run = Run(scenario, Failure(0, arrives=True), fresh=False)
        compare(run.play_held(*(570_000 + 120_000 * at for at in (held_from, ends_at))), untouched)


# --- it bites ---------------------------------------------------------------------------------


BITES: list[tuple[Callable[[pytest.MonkeyPatch], None], str, dict[str, bool]]] = [
    (switches_log.store_at_once, "two shards", {"fresh": False}),
    (switches_log.nothing_owed, "two shards", {}),
    (switches_log.nothing_lost, "two shards", {}),
    (switches_once.successors_not_owed, "replaced", {"arrives": True}),
    (switches_log.letters_not_owed, "refused", {}),
    (switches_calls.calls_not_owed, "parent, updated", {}),
    (switches_once.refusals_leave_nothing, "refused", {}),
    (switches_cleaning.attempts_not_folded, "retried and timed out", {}),
    (switches_cleaning.purges_not_read, "purged", {"cleans": True}),
    (switches_cleaning.snapshots_not_read, "snapshots", {"cleans": True}),
]
"""Protections, each with a scenario that needs it."""


@pytest.mark.parametrize(
    ("switch_off", "name", "how"), BITES, ids=[each.__name__ for each, _, _ in BITES]
)
def test_it_bites(
    switch_off: Callable[[pytest.MonkeyPatch], None],
    name: str,
    how: dict[str, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch_off(monkeypatch)
    with pytest.raises((AssertionError, LogTruncated)) as caught:
        fail_at_every_step(scenario_named(name), most=300, **how)
    print(caught.value, getattr(caught.value, "__notes__", "without a failure"))
