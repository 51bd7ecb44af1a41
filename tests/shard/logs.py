"""A log by hand: what owners wrote one after another, what a cleaner took, and whoever folds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from processor.codec.records import LEVEL, encode
from processor.core.records.marks import Mark
from processor.core.records.turn import LEVEL_FIRST, Claim, claim_key
from processor.shard.dedup import Requests
from processor.shard.ports import Changes, Checkpoint, Confirmed, LogRecord
from processor.shard.recovery.takeover import Taken, Takeover
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from tests.contract.records import NOW, Happened, Writer
from tests.contract.stores import IDENTITY


class Nowhere(StateTables):
    """Tables of an owner whose own are of no interest here."""

    def write(self, group: Sequence[Confirmed], checkpoint: Checkpoint, changes: Changes) -> None:
        pass


class WrittenLog:
    """The port of a log, and what fills it. ``owner`` makes the records of the last claim.

    ``counted``: the requests and messages of all records that count.
    """

    id = b"a log of 16 byte"
    waiting = False

    def __init__(self) -> None:
        self.records: dict[int, LogRecord] = {}
        self.end = 0
        self.first = 0
        self.epoch = -1
        self.owner = Writer(Nowhere(Memory(), IDENTITY))
        self.counted = Requests()
        self._acknowledged: list[int] = []

    # --- what fills it ------------------------------------------------------------------------

    def claim(self, owner: str = "owner", level: int = LEVEL_FIRST) -> int:
        """Let a process claim the shard: its records follow. Return the epoch."""
        epoch = self.epoch = self.end
        nonce = f"{owner}-{epoch}"
        self.put(claim_key(nonce), encode(Claim(owner, nonce, level, NOW)))
        states = self.owner.states
        self.owner = Writer(Nowhere(Memory(), IDENTITY), epoch=epoch)
        self.owner.states = states
        return epoch

    def write(self, run_id: str, *happened: Happened) -> list[int]:
        """Append what happened to a run, each as a record; return the offsets."""
        return [self.add(lambda each=each: self.owner.record(run_id, each)) for each in happened]

    def snapshot(self, run_id: str, happened: Happened) -> int:
        return self.add(lambda: self.owner.snapshot(run_id, happened))  # type: ignore[arg-type]

    def add(self, make: Callable[[], Confirmed]) -> int:
        """Append a record that the owner makes."""
        self.owner.offset = self.end
        made = make()
        if self.owner.epoch == self.epoch:
            self.counted.take(made.record, made.offset)
        return self.put(made.key, made.value)

    def mark(self) -> int:
        """Append a mark of all that has counted."""
        return self.add(self._mark)

    def _mark(self) -> Confirmed:
        made = self.owner.mark()
        assert isinstance(made.record, Mark)
        record = self.counted.marked(made.record)
        return replace(made, record=record, value=encode(record))

    def put(self, key: bytes, value: bytes | None) -> int:
        offset = self.end
        self.records[offset] = LogRecord(offset, key, value)
        self.end += 1
        return offset

    def cleaned(self, *offsets: int) -> WrittenLog:
        """Let a cleaner take records: nothing but their offsets is left of them."""
        for offset in offsets:
            del self.records[offset]
        return self

    def replaced(self, *offsets: int) -> list[bytes]:
        """Return the keys of records, which are to be told apart in the tables."""
        return [self.records[offset].key for offset in offsets]

    # --- the port -----------------------------------------------------------------------------

    def append(self, key: bytes, value: bytes | None) -> None:
        self._acknowledged.append(self.put(key, value))

    def acknowledged(self) -> Sequence[int]:
        acknowledged, self._acknowledged = self._acknowledged, []
        return acknowledged

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        return self.read(first, end)

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        assert self.first <= first, "a broker refuses to read what was deleted"
        yield from [each for offset, each in self.records.items() if first <= offset < end]

    def bounds(self) -> tuple[int, int]:
        return self.first, self.end

    # --- whoever folds it ---------------------------------------------------------------------

    def take_over(
        self,
        tables: StateTables | None = None,
        published: int = 0,
        level_max: int = LEVEL,
        *,
        keeps_tasks: bool = True,
    ) -> tuple[Taken, StateTables]:
        """Claim the shard and fold the log into tables, which are new if none are given."""
        tables = tables or StateTables(Memory(), IDENTITY)
        takeover = Takeover(0, self, tables, "us", level_max=level_max, keeps_tasks=keeps_tasks)
        takeover.survey()
        takeover.begin("nonce", NOW)
        epoch = takeover.claimed("nonce", NOW)
        assert epoch is not None, "the claim is acknowledged at once"
        return takeover.fold(epoch, published), tables
