"""activities: run id, activity id -> OpenAttempt: activities without an outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from processor.core.nouns.activity import ActivityCompleted, ActivityFailed, AttemptState
from processor.core.records.effects import ActivityTask, CancelAttempt
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord
from processor.shard.ports import Confirmed, OpenAttempt
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import TURNS, Handler
from processor.store.rows import pack, place_key, reader

__all__ = ("Attempts",)

_attempt: Final = reader(OpenAttempt)

_Begun: TypeAlias = tuple[ActivityTask, Confirmed]
"""An activity that begins, and its turn. Most are over before anybody needs the row."""


class Attempts:
    """``_unseen`` are activities that no store has seen: they leave no row once they are over."""

    families = ("activities",)

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._rows: dict[tuple[str, int], OpenAttempt | _Begun | None] = {}
        self._unseen: set[tuple[str, int]] = set()

    def takes(self) -> Mapping[type, Handler]:
        return {
            ActivityTask: self._begin,
            AttemptRecord: self._stand,
            ActivityCompleted: self._end,
            ActivityFailed: self._end,
            CancelAttempt: self._cancel,
        }

    def mutations(self) -> list[Mutation]:
        mutations: list[Mutation] = []
        for (run_id, id), row in self._rows.items():
            if row is not None and not isinstance(row, OpenAttempt):
                row = _opened(*row)
            packed = None if row is None else pack(row)
            mutations.append(("activities", place_key(run_id, id), packed))
        return mutations

    def written(self) -> None:
        self._rows.clear()
        self._unseen.clear()

    def open_attempts(self, run_id: str | None) -> Iterator[OpenAttempt]:
        """Yield those that are written, of one run or of all."""
        prefix = b"" if run_id is None else run_id.encode() + b"\0"
        for key, value in self._store.scan("activities", prefix):
            if not key.startswith(prefix):
                return
            yield _attempt(value)

    def _begin(self, task: ActivityTask, confirmed: Confirmed) -> None:
        if type(confirmed.record) is AttemptRecord:
            return  # the record itself says where the activity stands
        place = task.run_id, task.id
        if task.attempt == 1:
            self._unseen.add(place)
        self._rows[place] = task, confirmed

    def _stand(self, record: AttemptRecord, confirmed: Confirmed) -> None:
        self._rows[record.run_id, record.state.id] = OpenAttempt(
            record.workflow_id,
            record.run_id,
            record.name,
            confirmed.offset,
            confirmed.key,
            record.state,
        )

    def _end(self, event: ActivityCompleted | ActivityFailed, confirmed: Confirmed) -> None:
        record = confirmed.record
        assert isinstance(record, TURNS), f"{event} stands in a turn"
        self._drop(record.run_id, event.id)

    def _cancel(self, effect: CancelAttempt, confirmed: Confirmed) -> None:
        if type(confirmed.record) is not AttemptRecord and not effect.waits:
            self._drop(effect.run_id, effect.id)

    def _drop(self, run_id: str, id: int) -> None:
        place = run_id, id
        if place in self._unseen:
            self._rows.pop(place, None)
        else:
            self._rows[place] = None


def _opened(task: ActivityTask, confirmed: Confirmed) -> OpenAttempt:
    state = AttemptState(task.id, task.attempt, task.eager, task.scheduled_ms)
    if isinstance(confirmed.record, Snapshot):
        for image in confirmed.record.image.activities:
            if image.scheduled.id == task.id:
                state = image.state
    return OpenAttempt(task.workflow_id, task.run_id, task.name, confirmed.offset, b"", state)
