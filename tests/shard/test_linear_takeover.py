"""A takeover takes time in proportion to what it reads, however long its runs are."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from processor.core.nouns.external import EventReceived
from processor.shard.recovery import fold, owed, states
from processor.store.tables import StateTables
from tests.contract.records import STARTED

from .logs import WrittenLog

pytestmark = pytest.mark.slow

EVENT = EventReceived("e", b"1")


def _log_of(turns: int) -> WrittenLog:
    """Return the log of one run."""
    log = WrittenLog()
    log.claim()
    log.write("a-1", [STARTED], *[[EVENT]] * (turns - 1))
    return log


def _seconds(log: WrittenLog, tables: StateTables | None) -> float:
    begun = process_time()
    log.take_over(tables)
    return process_time() - begun


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_four_times_as_many_turns_take_about_four_times_as_long(known: bool) -> None:
    ratios = []
    for _ in range(3):
        seconds = []
        for turns in (1_000, 4_000):
            log = _log_of(turns)
            seconds.append(_seconds(log, log.take_over()[1] if known else None))
        ratios.append(seconds[1] / seconds[0])
    assert min(ratios) < 8, "16 were the square"


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_each_turn_is_folded_once(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """A busy run stays in memory, although more runs are read than are kept there."""
    log = WrittenLog()
    log.claim()
    log.write("busy-1", [STARTED])
    for number in range(100):
        log.write(f"other{number}-1", [STARTED])
        log.write("busy-1", [EVENT])
    tables = log.take_over()[1] if known else None
    folded, turns = states.folded, 0

    def counted(*args: Any) -> Any:
        nonlocal turns
        turns += 1
        return folded(*args)

    for module in (fold, owed, states):
        monkeypatch.setattr(module, "folded", counted)
    monkeypatch.setattr(states, "_STATES_MAX", 10)
    monkeypatch.setattr(fold, "_GROUP_TURNS", 5)
    log.take_over(tables)
    assert turns == 201
