"""The records that a producer was given: which wait, are out or rest, and what became of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Final

from confluent_kafka import KafkaError

from processor.kafka.clients.backoff import Pace
from processor.kafka.clients.faults import ELSEWHERE, FOR_NOW, PRODUCER_UNKNOWN, TOO_LARGE
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.wire.places import Place, WireBroker, partition_for
from processor.kafka.wire.protocol import BatchAnswer, Identity

__all__ = ("Outcome", "Records")

_RETRY_S: Final = 0.05
_RETRY_MAX_S: Final = 1.0
_EPOCH_MAX: Final = 0x7FFF


Outcome = tuple[Sequence[Outgoing], KafkaError | None, int]
"""What became of records: their error, or the offset of the first (below 0: it is not known)."""


class Records:
    """``gapless``: once a record is refused, nothing that was produced after it is sent.

    ``random`` spreads what is tried again, and places records without keys. ``places`` are the
    partitions that are written to, ``leaders`` the nodes that lead those of a topic, ``unplaced``
    the records of topics of which that is not known, ``resting`` the places that are offered again
    at a time. ``seeks``: there is something to ask. ``purged``: nothing is sent any more.
    ``ended``: and nothing is taken.
    """

    def __init__(self, *, gapless: bool = False, random: Random | None = None) -> None:
        self.places: dict[tuple[str, int], Place] = {}
        self.brokers: dict[int, WireBroker] = {}
        self.leaders: dict[str, Mapping[int, int]] = {}
        self.unplaced: dict[str, deque[Outgoing]] = {}
        self.outcomes: deque[Outcome] = deque()
        self.identity: Identity | None = None
        self.seeks = True
        self.purged = False
        self.ended: KafkaError | None = None
        self.resting: list[tuple[float, Place]] = []
        self._gapless = gapless
        self._random = random or Random()

    def pace(self) -> Pace:
        """Return how often something of this producer's is tried again."""
        return Pace(_RETRY_S, _RETRY_MAX_S, draw=self._random.uniform)

    # --- on their way -----------------------------------------------------------------------------

    def produce(self, outgoing: Outgoing) -> bool:
        """Take a record, to send it with the next request; return ``seeks``."""
        place = self.places.get((outgoing[0], outgoing[1]))
        if place is None or self.purged:
            self._produce_slowly(outgoing)
        else:
            place.waiting.append(outgoing)
            if place.batch is None:
                self._offer(place)
        return self.seeks

    def placed(self, topic: str, leaders: Mapping[int, int]) -> None:
        """Take in who leads a topic, and place what waited for that."""
        self.leaders[topic] = leaders
        for outgoing in self.unplaced.pop(topic, ()):
            self._put(outgoing)

    def move(self, place: Place, leader: WireBroker) -> None:
        if place.leader is not None and place.leader is not leader:
            place.leader.ready.pop(place, None)
        place.leader = leader
        self._offer(place)

    def wake(self, now: float) -> None:
        """Offer what has rested long enough."""
        for each in [each for each in self.resting if each[0] <= now]:
            self.resting.remove(each)
            each[1].resting = False
            self._offer(each[1])

    def sought(self) -> Sequence[str]:
        """Return the topics of which we do not know who leads what is to be sent."""
        places = self.places.values()
        unled = (p.topic for p in places if p.leader is None and p.busy and not p.resting)
        return sorted({*self.unplaced, *unled})

    def places_of(self, topic: str) -> Iterator[Place]:
        return (place for place in self.places.values() if place.topic == topic)

    # --- what becomes of them ---------------------------------------------------------------------

    def settle(self, place: Place, answered: BatchAnswer, now: float) -> None:
        """Take in what became of the batch that was out."""
        place.out = False
        batch, error = place.batch, answered.error
        if batch is None:  # purged meanwhile
            return
        doubtful = self._gapless and batch.tries > 1  # the log must not have records twice
        if error in (0, KafkaError.DUPLICATE_SEQUENCE_NUMBER):
            place.go_on()
            self.outcomes.append((batch.records, None, -1 if error else answered.offset))
        elif not self.purged and error in ELSEWHERE | FOR_NOW:
            if error in ELSEWHERE:
                place.leader = None
            place.resting = True
            self.resting.append((now + place.pace.wait_s(now), place))
        elif not self.purged and error in TOO_LARGE and len(batch.records) > 1 and not doubtful:
            self._split(place)
        else:
            fatal = error in PRODUCER_UNKNOWN
            cause = KafkaError(error, answered.reason or None, fatal=fatal)
            self._refuse_batch(place, cause)
            if fatal:
                self.end(cause)
        self._offer(place)

    def lost(self, place: Place) -> None:
        """Take in that nobody will say what became of the batch that was out: it is sent again."""
        place.out = False
        if self.purged:
            self._fail(place.drop(), KafkaError(KafkaError._PURGE_INFLIGHT))
        self._offer(place)

    def give_up(self, topic: str, places: Sequence[Place], code: int) -> None:
        """Fail what was produced to a topic, or to partitions of it, that no broker knows."""
        error = KafkaError(code or KafkaError._UNKNOWN_PARTITION)
        self._refuse(self.unplaced.pop(topic, ()), error)
        for place in places:
            if place.leader is not None:  # it has been busy, and would be sent nothing as a batch
                place.leader.ready.pop(place, None)
            if not place.out:
                self._refuse_batch(place, error)
            waiting, place.waiting = place.waiting, deque()
            self._refuse(waiting, error)
            if not (place.out or place.used):
                del self.places[topic, place.partition]

    def end(self, error: KafkaError) -> None:
        """Give up for ever, except what is out."""
        if self.ended is None:
            self.ended = error
            self.purge(in_flight=False, error=error)

    def purge(self, *, in_flight: bool, error: KafkaError | None = None) -> None:
        """Give up what was not sent, and what is out if asked. Nothing is sent from now on."""
        self.purged, self.seeks = True, False
        given_up = error or KafkaError(KafkaError._PURGE_QUEUE)
        for records in self.unplaced.values():
            self._fail(records, given_up)
        self.unplaced.clear()
        self.resting.clear()
        for place in self.places.values():
            place.resting = False
            if in_flight or not place.out:
                self._fail(place.drop(), error or KafkaError(KafkaError._PURGE_INFLIGHT))
            self._fail(place.waiting, given_up)
            place.waiting = deque()
        for broker in self.brokers.values():
            broker.ready.clear()

    def _produce_slowly(self, outgoing: Outgoing) -> None:
        """Take a record whose place is not there yet, or whose key says which one it is."""
        if self.purged:
            self._fail((outgoing,), self.ended or KafkaError(KafkaError._PURGE_QUEUE))
        elif outgoing.partition >= 0 or outgoing.topic in self.leaders:
            self._put(outgoing)
        else:
            self.unplaced.setdefault(outgoing.topic, deque()).append(outgoing)
            self.seeks = True

    def _put(self, outgoing: Outgoing) -> None:
        topic, partition, key, _, _ = outgoing
        if partition < 0:
            partition = partition_for(key, len(self.leaders[topic]), self._random)
        place = self.places.get((topic, partition)) or self._new_place(topic, partition)
        place.waiting.append(outgoing)
        if place.batch is None:
            self._offer(place)

    def _new_place(self, topic: str, partition: int) -> Place:
        leader = self.brokers.get(self.leaders.get(topic, {}).get(partition, -1))
        place = self.places[topic, partition] = Place(topic, partition, self.pace(), leader)
        return place

    def _offer(self, place: Place) -> None:
        """Let the place's leader have what it holds, once that is known."""
        if place.out or place.resting or not place.busy:
            return
        if place.leader is None:
            self.seeks = not self.purged
        else:
            place.leader.ready[place] = None

    def _split(self, place: Place) -> None:
        """Send half of a batch that was too large: one record must not take others along."""
        records = place.drop()
        place.room = len(records) // 2
        place.waiting.extendleft(reversed(records))

    def _fail(self, records: Sequence[Outgoing], error: KafkaError) -> None:
        if records:
            self.outcomes.append((records, error, -1))

    def _refuse(self, records: Sequence[Outgoing], error: KafkaError) -> None:
        self._fail(records, error)
        if self._gapless and records:
            self.purge(in_flight=False)

    def _refuse_batch(self, place: Place, error: KafkaError) -> None:
        self._refuse(place.drop(), error)
        if self.identity is not None and self.identity.epoch + place.epoch > _EPOCH_MAX:
            self.end(KafkaError(KafkaError._FATAL, "its last epoch is used up", fatal=True))
