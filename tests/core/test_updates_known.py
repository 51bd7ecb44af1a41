"""Which outcomes of updates a run knows, and which of them it hands on."""

from __future__ import annotations

from processor.core.nouns.lineage import UpdateOutcome
from processor.core.nouns.update import CARRIED_BYTES
from processor.core.state import RunState


def begin(run: RunState, id: str) -> None:
    run.begin_update(UpdateOutcome(id, "add", b"[1]", over=False))


def end(run: RunState, id: str, size: int = 1) -> None:
    run.know(UpdateOutcome(id, "add", None, True, b"x" * size))


def test_the_last_thousand_are_known_and_all_that_run() -> None:
    run = RunState("a", "r")
    begin(run, "runs")
    assert run.updates["runs"].payload is None, "arguments are not kept"
    for number in range(1_002):
        begin(run, f"u{number}")
        end(run, f"u{number}")
    assert [*run.updates][:2] == ["runs", "u2"]
    assert (len(run.updates), run.updates_running) == (1_001, 1)


def test_a_megabyte_is_known_and_the_newest_one_always() -> None:
    run = RunState("a", "r")
    for id, size in (("a", 10), ("b", 400_000), ("c", 400_000), ("d", 400_000)):
        end(run, id, size)
    assert [*run.updates] == ["c", "d"]
    end(run, "e", 2_000_000)
    assert [*run.updates] == ["e"]
    end(run, "f")
    assert [*run.updates] == ["f"]
    end(run, "g", 900_000)
    assert [*run.updates] == ["f", "g"], "what was forgotten counts no more"


def test_the_newest_ones_are_handed_on_in_their_order() -> None:
    run = RunState("a", "r")
    for id in ("a", "b", "c"):
        end(run, id, 40_000)
    begin(run, "runs")
    assert [each.id for each in run.newest_outcomes(CARRIED_BYTES)] == ["b", "c"]
