"""The protections of the native producer, each with a way to switch it off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from confluent_kafka import KafkaError

from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.wire import places
from processor.kafka.wire import records as module
from processor.kafka.wire.machine import Machine
from processor.kafka.wire.places import Place, WireBroker
from processor.kafka.wire.protocol import BatchAnswer
from processor.kafka.wire.records import Records

from . import wire_story as story
from .mutations import Mutation

__all__ = ("WIRE_MUTATIONS",)

# --- sequence numbers -------------------------------------------------------------------------


def numbers_used_again(patch: pytest.MonkeyPatch) -> None:
    """Give the numbers of a batch that was refused to the next one."""
    drop = Place.drop

    def keep_numbers(self: Place) -> Sequence[Outgoing]:
        epoch, sequence = self.epoch, self.sequence
        records = drop(self)
        self.epoch, self.sequence = epoch, sequence
        return records

    patch.setattr(Place, "drop", keep_numbers)


def new_numbers_for_lost_batches(patch: pytest.MonkeyPatch) -> None:
    """Send what may be written under new numbers."""
    lost = Records.lost

    def renumber(self: Records, place: Place) -> None:
        if place.batch is not None:
            place.waiting.extendleft(reversed(place.drop()))
        lost(self, place)

    patch.setattr(Records, "lost", renumber)


def batches_grow(patch: pytest.MonkeyPatch) -> None:
    """Send a batch again together with what was produced meanwhile."""
    lost = Records.lost

    def grow(self: Records, place: Place) -> None:
        if place.batch is not None:
            place.waiting.extendleft(reversed(place.batch.records))
            place.batch = None
        lost(self, place)

    patch.setattr(Records, "lost", grow)


def two_batches_out(patch: pytest.MonkeyPatch) -> None:
    """Forget the batch that is out as soon as something more is produced."""
    produce = Records.produce

    def send_more(self: Records, outgoing: Outgoing) -> bool:
        produce(self, outgoing)
        for place in self.places.values():
            if place.batch is not None and place.waiting and not place.out:
                place.go_on()
        return self.seeks

    patch.setattr(Records, "produce", send_more)


def numbers_grow_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Go on behind the last number that a batch may have."""
    patch.setattr(places, "_SEQUENCES", -1)


def numbers_begin_again_too_early(patch: pytest.MonkeyPatch) -> None:
    """Begin with 0 where a batch goes over the last number."""
    go_on = Place.go_on

    def begin_again(self: Place) -> None:
        before = self.sequence
        go_on(self)
        if self.sequence < before:
            self.sequence = 0

    patch.setattr(Place, "go_on", begin_again)


# --- order, holes -----------------------------------------------------------------------------


def halves_swapped(patch: pytest.MonkeyPatch) -> None:
    """Put what is left of a batch that was too large behind what waits."""

    def behind(self: Records, place: Place) -> None:
        records = place.drop()
        place.room = len(records) // 2
        place.waiting.extend(records)

    patch.setattr(Records, "_split", behind)


def holes_left(patch: pytest.MonkeyPatch) -> None:
    """Go on behind a refusal though the log may have no hole."""
    patch.setattr(Records, "_refuse", Records._fail)


def doubtful_batches_split(patch: pytest.MonkeyPatch) -> None:
    """Split a batch that was too large, and may be written."""
    settle = Records.settle

    def split(self: Records, place: Place, answered: BatchAnswer, now: float) -> None:
        if place.batch is not None and answered.error in module.TOO_LARGE:
            place.batch.tries = 1
        settle(self, place, answered, now)

    patch.setattr(Records, "settle", split)


# --- what is said is true ---------------------------------------------------------------------


def duplicates_refused(patch: pytest.MonkeyPatch) -> None:
    """Take what a broker has already for refused."""
    settle, duplicate = Records.settle, KafkaError.DUPLICATE_SEQUENCE_NUMBER

    def refuse(self: Records, place: Place, answered: BatchAnswer, now: float) -> None:
        if answered.error != duplicate or place.batch is None:
            settle(self, place, answered, now)
            return
        place.out = False
        self._refuse_batch(place, KafkaError(duplicate))
        self._offer(place)

    patch.setattr(Records, "settle", refuse)


def the_resting_kept_at_a_purge(patch: pytest.MonkeyPatch) -> None:
    """Keep what waits for its time to be sent again, and send it then."""
    purge = Records.purge

    def keep(self: Records, *, in_flight: bool, error: KafkaError | None = None) -> None:
        resting = [(at, place, place.batch) for at, place in self.resting]
        for _, place, _ in resting:
            place.batch = None
        purge(self, in_flight=in_flight, error=error)
        for at, place, batch in resting:
            place.batch, place.resting = batch, True
            self.resting.append((at, place))

    patch.setattr(Records, "purge", keep)


# --- nothing is in doubt for ever -------------------------------------------------------------


def lost_batches_forgotten(patch: pytest.MonkeyPatch) -> None:
    def forget(self: Machine, broker: WireBroker, now: float) -> None:
        broker.up, broker.out = False, None

    patch.setattr(Machine, "lost", forget)


def the_resting_not_woken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Records, "wake", lambda self, now: None)


def silence_endured(patch: pytest.MonkeyPatch) -> None:
    """Wait for a broker that says nothing for as long as it does so."""
    patch.setattr(story, "ANSWER_S", 1e9)


def leaders_not_looked_for(patch: pytest.MonkeyPatch) -> None:
    """Stay with a leader that says that it is none."""
    patch.setattr(module, "ELSEWHERE", frozenset[int]())
    patch.setattr(module, "FOR_NOW", module.FOR_NOW | {KafkaError.NOT_LEADER_FOR_PARTITION})


def answers_of_others_believed(patch: pytest.MonkeyPatch) -> None:
    """Take a batch of which an answer says nothing for written."""
    answered = Machine.answered

    def believe(
        self: Machine, broker: WireBroker, answers: Iterable[BatchAnswer], now: float
    ) -> None:
        told = {(each.topic, each.partition): each for each in answers}
        for place in broker.out or ():
            told.setdefault(
                (place.topic, place.partition),
                BatchAnswer(place.topic, place.partition, 0, -1, ""),
            )
        answered(self, broker, told.values(), now)

    patch.setattr(Machine, "answered", believe)


ONCE = "AssertionError: a record stands in the log at most once"
THERE = "AssertionError: (what is delivered stands in the log|it stands where it is said)"
ORDER = "AssertionError: records stand in the order in which they were sent"
HOLE = "AssertionError: a gapless log has no hole"
DOUBT = "AssertionError: a record stays in doubt for ever"
CAUSE = "AssertionError: a producer ends for a cause"
REFUSED = "AssertionError: what is there was refused by a broker"
PURGED = "AssertionError: nothing is sent after a purge"
TOO_HIGH = "error: 'i' format requires"

WIRE_MUTATIONS: Sequence[Mutation] = (
    Mutation("producer", "no number is used twice", numbers_used_again, (THERE,), 100),
    Mutation(
        "producer", "numbers begin again after 2^31 - 1", numbers_grow_for_ever, (TOO_HIGH,), 50
    ),
    Mutation(
        "producer",
        "a batch over the last number is counted",
        numbers_begin_again_too_early,
        (CAUSE, THERE),
        50,
    ),
    Mutation("producer", "a duplicate is written", duplicates_refused, (REFUSED,), 50),
    Mutation(
        "producer", "what rests is given up at a purge", the_resting_kept_at_a_purge, (PURGED,), 50
    ),
    Mutation(
        "producer", "a lost batch keeps its numbers", new_numbers_for_lost_batches, (ONCE,), 50
    ),
    Mutation("producer", "a batch is sent again as it is", batches_grow, (CAUSE, ONCE, THERE), 50),
    Mutation(
        "producer", "a batch is written before the next", two_batches_out, (CAUSE, THERE, DOUBT), 50
    ),
    Mutation("producer", "a batch is split in order", halves_swapped, (ORDER, HOLE), 50),
    Mutation("producer", "a gapless log has no hole", holes_left, (HOLE,), 50),
    Mutation("producer", "what may be written is not split", doubtful_batches_split, (ONCE,), 400),
    Mutation("producer", "lost batches are sent again", lost_batches_forgotten, (DOUBT,), 50),
    Mutation("producer", "what rests is woken", the_resting_not_woken, (DOUBT,), 50),
    Mutation("producer", "a silent broker is given up", silence_endured, (DOUBT,), 50),
    Mutation("producer", "a former leader is left", leaders_not_looked_for, (DOUBT,), 50),
    Mutation(
        "producer",
        "answers are for what was asked",
        answers_of_others_believed,
        (THERE, CAUSE, HOLE),
        50,
    ),
)
