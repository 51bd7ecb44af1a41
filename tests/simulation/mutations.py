"""The protections of the log protocol, each with a way to switch it off, for the test of the tests.

A mutation is a patch that leaves out one protection and nothing else. ``caught_by`` says how it has
to be noticed: by which invariant or assertion. Anything else that goes wrong is no catch, since it
may come from the patch itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from processor.core import decide, state
from processor.core.effects import DeadLetter
from processor.core.state import OpenActivity
from processor.core.turn import Positions
from processor.shard import loop, takeover
from processor.shard.loop import Shard, _Appended
from processor.shard.outbox import Deliveries
from processor.shard.takeover import Taken, Takeover, _Fold
from processor.simulation.partitions import Outputs, Transactions
from processor.simulation.publisher import Publisher, ShardOutputs

__all__ = ("MUTATIONS", "Mutation")


@dataclass(frozen=True)
class Mutation:
    """``seeds_max``: it is caught within so many seeds, beginning with seed 0.

    ``caught_by`` are patterns for the failure, with its class.
    """

    protection: str
    switch_off: Callable[[pytest.MonkeyPatch], None]
    caught_by: tuple[str, ...]
    seeds_max: int


# --- acknowledge, store, release --------------------------------------------------------------


def effects_at_once(patch: pytest.MonkeyPatch) -> None:
    """Release the effects of a turn as soon as it is on its way."""
    append, release_effects = Shard._append, Shard._release_effects
    released: set[int] = set()

    def append_and_release(self: Shard, appended: _Appended) -> None:
        offset = self._expected + len(self._in_flight)
        append(self, appended)
        if appended.entry is not None:
            self._deliveries.released(offset, release_effects(self, offset, appended))
            released.add(id(appended))

    def release_once(self: Shard, offset: int, appended: _Appended) -> int:
        if id(appended) in released:
            released.discard(id(appended))
            return 0
        return release_effects(self, offset, appended)

    patch.setattr(Shard, "_append", append_and_release)
    patch.setattr(Shard, "_release_effects", release_once)


def replies_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shard, "_then", lambda self, callback: callback())


def store_at_once(patch: pytest.MonkeyPatch) -> None:
    """Write a turn into the tables as soon as it is on its way."""
    append, store = Shard._append, Shard._store

    def append_and_store(self: Shard, appended: _Appended) -> None:
        offset = self._expected + len(self._in_flight)
        append(self, appended)
        store(self, [(offset, appended)])
        self.flush()

    patch.setattr(Shard, "_append", append_and_store)
    patch.setattr(Shard, "_store", lambda self, confirmed: None)


def no_gap_check(patch: pytest.MonkeyPatch) -> None:
    def believe(self: Shard, offset: int, appended: _Appended) -> int:
        return offset if offset >= 0 else self._expected

    patch.setattr(Shard, "_check_gap", believe)


def unknown_offsets_believed(patch: pytest.MonkeyPatch) -> None:
    """Take an acknowledgement without an offset for the next one."""
    check_gap = Shard._check_gap

    def believe(self: Shard, offset: int, appended: _Appended) -> int:
        return check_gap(self, offset, appended) if offset >= 0 else self._expected

    patch.setattr(Shard, "_check_gap", believe)


# --- what a turn says -------------------------------------------------------------------------


def no_epoch_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(takeover, "is_current", lambda turn, epoch: True)


def keys_without_epoch(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "turn_key", lambda run_id, first, epoch: f"{run_id}/{first}".encode())


def no_positions(patch: pytest.MonkeyPatch) -> None:
    """Write down no position of the inputs: each owner begins where the first one did."""
    write = Shard._write

    def write_without(
        self: Shard, draft: Any, entry: Any, source: Any, positions: Positions, origin: Any
    ) -> None:
        write(self, draft, entry, source, Positions(), origin)

    patch.setattr(Shard, "_write", write_without)


def delivered_too_soon(patch: pytest.MonkeyPatch) -> None:
    """Say of every turn that its effects are delivered."""
    patch.setattr(Deliveries, "floor", property(lambda self: self._next_offset))


def no_marks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shard, "_mark_positions", lambda self, now_ms: None)


# --- takeover ---------------------------------------------------------------------------------


def no_fold(patch: pytest.MonkeyPatch) -> None:
    """Begin with the tables as they are."""

    def begin(self: Takeover, epoch: int, published: int) -> Taken:
        fold = _Fold(self._tables, self._tables.checkpoint(), published)
        fold.finish(epoch)
        return Taken(epoch, fold.checkpoint, [], [], 0, 0, 0)

    patch.setattr(Takeover, "fold", begin)


def nothing_owed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "send_owed", lambda *_: None)


def owed_only_if_new(patch: pytest.MonkeyPatch) -> None:
    """Send nothing again of a turn that is in the tables."""
    patch.setattr(_Fold, "_collect_known", lambda self, offset, value, turn: None)


def nothing_lost(patch: pytest.MonkeyPatch) -> None:
    """Report no eager attempt that died with its process."""
    fold = Takeover.fold

    def without_lost(self: Takeover, epoch: int, published: int) -> Taken:
        taken = fold(self, epoch, published)
        taken.lost.clear()
        return taken

    patch.setattr(Takeover, "fold", without_lost)


def published_from_the_start(patch: pytest.MonkeyPatch) -> None:
    """Ignore what the last committed transaction says was published."""
    fold, confirm = Takeover.fold, Publisher._confirm

    def begin_at_the_start(self: Publisher, shard: ShardOutputs) -> None:
        confirm(self, shard)
        shard._position = 0

    patch.setattr(Publisher, "_confirm", begin_at_the_start)
    patch.setattr(Takeover, "fold", lambda self, epoch, published: fold(self, epoch, 0))


def former_generations_publish(patch: pytest.MonkeyPatch) -> None:
    """Let the publishers of earlier owners commit."""
    send = Transactions.send
    patch.setattr(
        Transactions,
        "send",
        lambda self, name, epoch, batches, **_: send(self, name, epoch, batches, is_member=True),
    )


def open_transactions_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """Take a shard's position over while an earlier owner's transaction may still change it."""
    nobody = property(lambda self: "", lambda self, name: None)
    patch.setattr(Outputs, "publisher", nobody, raising=False)
    patch.setattr(Transactions, "settle", lambda self, partition: None)


def own_transactions_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """The same, with a transaction of this process, from before it lost the shard."""
    patch.setattr(Publisher, "busy", False)


def former_epochs_publish(patch: pytest.MonkeyPatch) -> None:
    """Begin anew without ending what was open: a commit that was given up may still come."""
    patch.setattr(Transactions, "begin", lambda self, name: self._epochs[name])


def letters_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """Take the next input before the dead letter of the last one is written."""

    def bury(self: Shard, letter: DeadLetter, positions: Positions) -> None:
        self._outbox.send(letter, None)
        self._positions = positions

    patch.setattr(Shard, "_bury", bury)


# --- duplicates -------------------------------------------------------------------------------


def no_deduplication(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shard, "_is_new", lambda self, origin: True)


def origins_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Do not tell the next owner which messages of other shards have arrived."""
    reached = _Fold._reached

    def forget(self: _Fold, offset: int, turn: Any) -> None:
        seen = dict(self._seen)
        reached(self, offset, turn)
        self._seen = seen

    patch.setattr(_Fold, "_reached", forget)


def stale_reports(patch: pytest.MonkeyPatch) -> None:
    """Believe what an earlier attempt says."""

    def attempt(instance: Any, run_id: str, id: int, attempt: int) -> OpenActivity | None:
        if instance is None or instance.state.run_id != run_id:
            return None
        found: OpenActivity | None = instance.state.activities.get(id)
        return found

    patch.setattr(decide, "_attempt", attempt)


def requests_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Take an event again that a client sent twice."""
    patch.setattr(state, "REQUEST_IDS_MAX", 0)


NOT_CONTIGUOUS = (
    "AssertionError: histories are contiguous",
    r"AssertionError: [\d-]+: turn \d+ at \d+",
)
"""Said by the reader of the logs, and by the fold and the replay of the product itself."""

GHOSTS = (
    "AssertionError: nothing of a ghost leaves",
    "AssertionError: an eager attempt begins after its turn",
    "AssertionError: an answer follows its turn",
    "AssertionError: results are there once each",
    "AssertionError: results are in the order of the log",
)
LOST_EFFECTS = ("AssertionError: results are there once each", "Stuck: it is not done")
TABLES = "AssertionError: tables are the fold of the log"

MUTATIONS: Sequence[Mutation] = (
    # --- those that the proof has to catch ---
    Mutation(
        "effects wait for the acknowledgement",
        effects_at_once,
        (GHOSTS[1], "AssertionError: an effect leaves after its turn"),
        20,
    ),
    Mutation("turns of another epoch do not count", no_epoch_check, (TABLES, *NOT_CONTIGUOUS), 50),
    Mutation("gaps in the offsets are looked at", no_gap_check, GHOSTS, 50),
    Mutation(
        "the store waits for the acknowledgement",
        store_at_once,
        (TABLES, *NOT_CONTIGUOUS, r"LogTruncated: shard \d: the state directory is at log offset"),
        50,
    ),
    Mutation("keys name the epoch", keys_without_epoch, NOT_CONTIGUOUS, 150),
    Mutation(
        "messages are taken once",
        no_deduplication,
        ("AssertionError: a message changes history once",),
        150,
    ),
    Mutation(
        "turns carry the positions of the inputs",
        no_positions,
        ("AssertionError: an input changes history once",),
        20,
    ),
    Mutation("what is owed is sent again", nothing_owed, LOST_EFFECTS, 50),
    # --- further ones ---
    Mutation(
        "replies wait for the acknowledgement",
        replies_at_once,
        ("AssertionError: an answer follows its turn",),
        50,
    ),
    Mutation("an unknown offset is a gap", unknown_offsets_believed, GHOSTS, 500),
    Mutation("known turns may be owed", owed_only_if_new, LOST_EFFECTS, 400),
    Mutation(
        "turns say what is delivered",
        delivered_too_soon,
        ("AssertionError: what is called delivered has arrived",),
        100,
    ),
    Mutation(
        "the published position is kept",
        published_from_the_start,
        (r"AssertionError: turn \d+ again, after \d+",),
        20,
    ),
    Mutation(
        "a former generation publishes nothing",
        former_generations_publish,
        (r"AssertionError: turn \d+ again, after \d+",),
        1_000,
    ),
    Mutation(
        "another owner's open transaction is awaited",
        open_transactions_not_awaited,
        (r"AssertionError: turn \d+ again, after \d+",),
        400,
    ),
    Mutation(
        "a process's own open transaction is awaited",
        own_transactions_not_awaited,
        (r"AssertionError: turn \d+ again, after \d+",),
        400,
    ),
    Mutation(
        "a publisher that begins anew is fenced from itself",
        former_epochs_publish,
        (r"AssertionError: turn \d+ again, after \d+",),
        400,
    ),
    Mutation(
        "marks carry positions",
        no_marks,
        ("AssertionError: what was read is written down",),
        50,
    ),
    Mutation(
        "dead letters hold intake back",
        letters_not_awaited,
        ("AssertionError: no turn is past what is not buried yet",),
        150,
    ),
    Mutation("the log is folded before the first input", no_fold, (TABLES, *NOT_CONTIGUOUS), 20),
    Mutation("lost attempts are reported", nothing_lost, ("Stuck: it is not done",), 50),
    Mutation(
        "the next owner knows which messages were taken",
        origins_forgotten,
        (
            "AssertionError: a message changes history once",
            "AssertionError: the checkpoint is the fold of the log",
        ),
        50,
    ),
    Mutation(
        "reports of earlier attempts are ignored",
        stale_reports,
        ("AssertionError: a report counts for its attempt only",),
        100,
    ),
    Mutation(
        "requests are taken once",
        requests_forgotten,
        ("AssertionError: a client's event counts once",),
        100,
    ),
)
