"""What must hold of entities after every story: they keep the operations that ended last."""

from __future__ import annotations

from processor.core.entity_id import entity_of
from processor.core.nouns.update import UpdateCompleted
from processor.core.records.snapshot import EntityDelta, EntitySnapshot

from .checked import Checked
from .customers import OWN
from .purses import HISTORY
from .reading import Reading
from .story import Story

__all__ = ("check_customers", "check_histories")


def check_customers(checked: Checked, story: Story) -> None:
    """Each booking of a client ran once: those of their own purse have the places 1, 2, ..."""
    told = [answer for (purse, _), answer in story.told.items() if purse == OWN]
    places = [answer[1] for answer in told if answer is not None]
    right = sorted(places) == [*range(1, len(told) + 1)]
    checked.that("each booking of a client runs once", right, story.told)


def check_histories(checked: Checked, readings: list[Reading]) -> None:
    """Each purse keeps the operations that ended last, and all of them until there are more."""
    for reading in readings:
        for turns in reading.runs.values():
            entity = entity_of(turns[0].turn.workflow_id)
            if entity is None or entity.name != "Purse":
                continue
            ended: list[str] = []
            for _, turn, _ in turns:
                ended += [each.id for each in turn.events if isinstance(each, UpdateCompleted)]
                if not isinstance(turn, EntitySnapshot | EntityDelta):
                    continue
                kept = [each.id for each in turn.history if each.id]
                last = ended[len(ended) - len(kept) :]
                checked.that("an entity keeps its last operations", kept == last, turn, last)
                fits = len(turn.history) == HISTORY or kept == ended
                checked.that("and all while they are few", fits, turn, ended)
                times = [each.ended_ms for each in turn.history]
                checked.that("in order", times == sorted(times), turn)
