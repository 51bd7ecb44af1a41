"""Protections switched off: appending, what a record says, taking over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from processor.core.records.effects import DeadLetter, Effect
from processor.core.records.turn import Positions
from processor.node.publishing.faults import Fault
from processor.node.publishing.outputs import ShardOutputs
from processor.node.publishing.publishing import Publishing
from processor.node.publishing.steps import Connect, Steps
from processor.shard import loop
from processor.shard.flight import Appended, Flight
from processor.shard.gate import Gate
from processor.shard.loop import Shard
from processor.shard.marks import Marks
from processor.shard.outbox import Deliveries
from processor.shard.recovery import fold
from processor.shard.recovery.fold import Fold
from processor.shard.recovery.owed import Owing
from processor.shard.recovery.takeover import Taken, Takeover
from processor.shard.storing import Storing
from processor.shard.turns import writer
from processor.shard.turns.writer import Writer
from processor.simulation.partitions import Outputs, Transactions
from processor.store.projections import replaced

# --- acknowledge, store, release --------------------------------------------------------------


def _at_once(patch: pytest.MonkeyPatch, act: Callable[[Shard, Appended], None]) -> None:
    """Act on each record as soon as it is on its way, as if its offset were known."""
    init = Shard.__init__

    def wrapped(self: Shard, *args: Any) -> None:
        init(self, *args)
        append = self._flight.append

        def append_and_act(appended: Appended) -> None:
            appended.offset = self._flight.number
            append(appended)
            if appended.record is not None:
                act(self, appended)

        self._flight.append = append_and_act  # type: ignore[method-assign]

    patch.setattr(Shard, "__init__", wrapped)


def effects_at_once(patch: pytest.MonkeyPatch) -> None:
    """Release the effects of a record as soon as it is on its way."""
    release = loop.Effects.release
    released: dict[int, int] = {}

    def release_once(self: Any, appended: Appended) -> int:
        sends = released.pop(id(appended), None)
        return release(self, appended) if sends is None else sends

    def act(shard: Shard, appended: Appended) -> None:
        released[id(appended)] = release(shard._effects, appended)

    patch.setattr(loop.Effects, "release", release_once)
    _at_once(patch, act)


def replies_at_once(patch: pytest.MonkeyPatch) -> None:
    """Tell what becomes of a command before that is in the log."""
    then = Flight.then

    def at_once(self: Flight, callback: Any) -> None:
        tells = getattr(getattr(callback, "func", None), "__name__", "") == "answer"
        callback() if tells else then(self, callback)

    patch.setattr(Flight, "then", at_once)


def store_at_once(patch: pytest.MonkeyPatch) -> None:
    """Write a record into the tables as soon as it is on its way."""
    store = Storing.store

    def act(shard: Shard, appended: Appended) -> None:
        store(shard._storing, [appended])
        shard.flush()

    _at_once(patch, act)


def no_gap_check(patch: pytest.MonkeyPatch) -> None:
    def believe(self: Flight, offset: int, appended: Appended) -> int:
        return offset if offset >= 0 else self._expected

    patch.setattr(Flight, "_check_gap", believe)


def unknown_offsets_believed(patch: pytest.MonkeyPatch) -> None:
    """Take an acknowledgement without an offset for the next one."""
    check_gap = Flight._check_gap

    def believe(self: Flight, offset: int, appended: Appended) -> int:
        return check_gap(self, offset, appended) if offset >= 0 else self._expected

    patch.setattr(Flight, "_check_gap", believe)


# --- what a record says -----------------------------------------------------------------------


def no_epoch_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fold, "counts", lambda named, epoch: True)


def turn_keys_without_epoch(patch: pytest.MonkeyPatch) -> None:
    def key(run_id: str, first: int, epoch: int) -> bytes:
        return f"{run_id}/{first}/0".encode()

    patch.setattr(writer, "turn_key", key)
    patch.setattr(replaced, "turn_key", key)


def attempt_keys_without_number(patch: pytest.MonkeyPatch) -> None:
    """Give all records of an attempt one key in an epoch, so that the last one stays."""
    key = writer.attempt_key
    patch.setattr(
        writer, "attempt_key", lambda run_id, each, number, epoch: key(run_id, each, 0, epoch)
    )


def mark_keys_without_number(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writer, "mark_key", lambda number, epoch: f"mark/{epoch}".encode())


def no_positions(patch: pytest.MonkeyPatch) -> None:
    """Write down no position of the inputs: each owner begins where the first one did."""
    made = Writer.made
    patch.setattr(
        Writer,
        "made",
        lambda self, draft, entry, source, positions, cause: made(
            self, draft, entry, source, Positions(), cause
        ),
    )


def delivered_too_soon(patch: pytest.MonkeyPatch) -> None:
    """Say of every record that its effects are delivered."""
    patch.setattr(Deliveries, "floor", property(lambda self: self._next_offset))


def no_marks(patch: pytest.MonkeyPatch) -> None:
    def step(self: Marks, now_ms: int) -> None:
        self.due_ms = now_ms + 60_000

    patch.setattr(Marks, "step", step)


# --- takeover ---------------------------------------------------------------------------------


def no_fold(patch: pytest.MonkeyPatch) -> None:
    """Begin with the tables as they are."""

    def begin(self: Takeover, epoch: int, published: int) -> Taken:
        empty = Fold(self._tables, self._tables.checkpoint(), published)
        empty.finish(epoch, self._key, self._level)
        claim, point, requests = empty.claims.last, empty.checkpoint, empty.requests
        return Taken(epoch, claim, point, requests, [], [], [], 0, 0, 0)

    patch.setattr(Takeover, "fold", begin)


def nothing_owed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "send_owed", lambda *_: None)


def owed_only_if_new(patch: pytest.MonkeyPatch) -> None:
    """Send nothing again of a record that is in the tables."""
    patch.setattr(Owing, "collect_known", lambda self, offset, key, value, entry: None)


def letters_not_owed(patch: pytest.MonkeyPatch) -> None:
    """Do not send again what the owner before was about to put into dead-letters."""
    collect = Owing.collect

    def without_letters(self: Owing, offset: int, effects: Sequence[Effect]) -> None:
        collect(self, offset, [each for each in effects if not isinstance(each, DeadLetter)])

    patch.setattr(Owing, "collect", without_letters)


def nothing_lost(patch: pytest.MonkeyPatch) -> None:
    """Report no eager attempt that died with its process."""
    take_over = Takeover.fold

    def without_lost(self: Takeover, epoch: int, published: int) -> Taken:
        taken = take_over(self, epoch, published)
        taken.lost.clear()
        return taken

    patch.setattr(Takeover, "fold", without_lost)


def published_from_the_start(patch: pytest.MonkeyPatch) -> None:
    """Ignore what the last committed transaction says was published."""
    take_over, begin = Takeover.fold, ShardOutputs.begin
    patch.setattr(ShardOutputs, "begin", lambda self, position, now: begin(self, 0, now))
    patch.setattr(Takeover, "fold", lambda self, epoch, published: take_over(self, epoch, 0))


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
    patch.setattr(Transactions, "is_open", lambda self, partition: False)


def own_transactions_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """The same, with a transaction of this process, from before it lost the shard."""
    patch.setattr(Publishing, "_settled", Publishing._connected)


def former_epochs_publish(patch: pytest.MonkeyPatch) -> None:
    """Begin anew without ending what was open: a commit that was given up may still come."""
    patch.setattr(Transactions, "begin", lambda self, name: self._epochs[name])


def positions_not_read_again(patch: pytest.MonkeyPatch) -> None:
    """Go on from the old position after a transaction of unknown outcome."""

    def connected(self: Publishing) -> Steps:
        if not self._is_connected:
            yield Connect()
            self._is_connected = True

    patch.setattr(Publishing, "_connected", connected)


def producers_kept(patch: pytest.MonkeyPatch) -> None:
    """Go on with the producer whose transaction failed, as if nothing of it had been written."""

    def keep(self: Publishing, fault: Fault) -> Steps:
        yield from ()

    patch.setattr(Publishing, "_give_up", keep)


def letters_not_awaited(patch: pytest.MonkeyPatch) -> None:
    """Take the next input before the dead letter of the last one is written."""

    def bury(self: Gate, letter: DeadLetter, positions: Positions) -> None:
        self._outbox.send(letter, None)
        self.positions = positions

    patch.setattr(Gate, "bury", bury)


def one_letter_for_all(patch: pytest.MonkeyPatch) -> None:
    """Go on past all dead letters that are on their way once the first of them is written."""

    def is_buried(self: Gate) -> None:
        self.positions, self._buried = self.read, None

    patch.setattr(Gate, "is_buried", is_buried)
