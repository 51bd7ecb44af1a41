"""An idempotent producer that sends one request to each broker, for all partitions that it leads.

A broker takes the requests of a connection one by one, and answers ``acks=all`` when the replicas
have them. So one request is out to each broker, and what is produced meanwhile travels in the next:
the busier, the larger. For each partition one batch is out at the most, and it is sent again as it
is until a broker answers for it; brokers drop what they have already by its sequence number.

Connections are made, and leaders looked up, by threads of their own that end with their task.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from threading import Lock, Thread
from time import monotonic, sleep, time
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from processor.kafka.client_log import client_log
from processor.kafka.connection import LOG_RECORD_BYTES_MAX, murmur2
from processor.kafka.faults import ELSEWHERE, FOR_NOW, PRODUCER_UNKNOWN, TOO_LARGE
from processor.kafka.record_producer import Outgoing
from processor.kafka.wire.asking import NO_ANSWER, Identity, addresses_of, ask
from processor.kafka.wire.batch import record_batch
from processor.kafka.wire.link import Link
from processor.kafka.wire.places import RECORDS_MAX, Batch, Broker, Place, Taken
from processor.kafka.wire.protocol import Answered, Cluster, ProtocolError, parse_produce, produce
from processor.kafka.wire.security import Security

__all__ = ("WireProducer",)

_ACKS_MS: Final = 15_000
"""How long a broker waits for its replicas before it says that it did."""

_ANSWER_S: Final = 20.0
_RETRY_S: Final = 0.1
_MISSING_S: Final = 5.0
"""How long a topic may be unknown: brokers hear of a new one one after the other."""

_BATCH_BYTES: Final = 1_000_000
"""Below what the smallest topic takes; a larger record has a batch of its own."""

_REQUEST_BYTES: Final = 8_000_000
_SEQUENCES: Final = 0x7FFFFFFF


class WireProducer:
    """Thread-safe; ``poll`` is for one thread at a time, which makes the calls to ``delivered``.

    ``gapless``: once a record is refused, nothing that was produced after it is sent.
    """

    def __init__(
        self, servers: str, security: Security, client: str, *, gapless: bool = False
    ) -> None:
        self._bootstrap = addresses_of(servers)
        self._security = security
        self._client = client
        self._gapless = gapless
        self._lock = Lock()
        self._brokers: dict[int, Broker] = {}
        self._places: dict[tuple[str, int], Place] = {}
        self._leaders: dict[str, Mapping[int, int]] = {}
        self._unplaced: dict[str, deque[Outgoing]] = {}
        self._missing: dict[str, float] = {}
        self._resting: deque[tuple[float, Place]] = deque()
        self._done: deque[tuple[Sequence[Outgoing], KafkaError | None, int]] = deque()
        self._selector = DefaultSelector()
        self._count = 0
        self._identity: Identity | None = None
        self._looking = False
        self._purged = False
        self._closed = False
        with self._lock:
            self._look()

    def __len__(self) -> int:
        """Return how many records were not called back yet."""
        return self._count

    def produce(self, outgoing: Outgoing) -> None:
        """Take a record, to send it with the next request."""
        if _size(outgoing) > LOG_RECORD_BYTES_MAX:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        with self._lock:
            self._count += 1
            if self._purged:
                self._fail((outgoing,), KafkaError(KafkaError._PURGE_QUEUE))
            elif outgoing.partition >= 0 or outgoing.topic in self._leaders:
                self._put(outgoing)
            else:
                self._unplaced.setdefault(outgoing.topic, deque()).append(outgoing)
                self._look()

    def send(self) -> bool:
        """Begin to send what was produced; return whether it may wait for an answer first."""
        with self._lock:
            waits = any(broker.out is not None for broker in self._brokers.values())
            self._send()
            return waits

    def poll(self, timeout_s: float) -> int:
        """Take in answers, waiting for one if none is there; return how many records they end."""
        with self._lock:
            self._advance()
        if timeout_s and not self._done and not self._closed:
            heard = self._selector.select(timeout_s)
            with self._lock:
                for key, _ in heard:
                    if key.data.out is None:  # nothing was asked: it hung up
                        self._receive(key.data)
                self._advance()
        return self._call_back()

    def purge(self, *, in_flight: bool) -> None:
        """Give up what was not sent, and what is out if asked. Nothing is sent from now on."""
        with self._lock:
            self._purge(in_flight)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for broker in self._brokers.values():
                self._hang_up(broker)
            self._selector.close()

    # --- all below holds the lock, up to the threads ----------------------------------------------

    def _put(self, outgoing: Outgoing) -> None:
        topic, partition, key, _, _ = outgoing
        if partition < 0:
            number = random.getrandbits(31) if key is None else murmur2(key) & 0x7FFFFFFF
            partition = number % len(self._leaders[topic])
        place = self._places.get((topic, partition)) or self._new_place(topic, partition)
        place.waiting.append(outgoing)
        if place.batch is None:
            self._offer(place)

    def _new_place(self, topic: str, partition: int) -> Place:
        leader = self._brokers.get(self._leaders.get(topic, {}).get(partition, -1))
        place = self._places[topic, partition] = Place(topic, partition, leader)
        return place

    def _offer(self, place: Place) -> None:
        """Let the place's leader have what it holds, once that is known."""
        if place.out or not place.busy:
            return
        if place.leader is None:
            self._look()
        else:
            place.leader.ready[place] = None

    def _advance(self) -> None:
        now = monotonic()
        for broker in self._brokers.values():
            if broker.out is not None:
                self._receive(broker)
                if broker.out is not None and now - broker.sent_at > _ANSWER_S:
                    self._lose(broker, f"no answer within {_ANSWER_S:.0f} s")
        while self._resting and self._resting[0][0] <= now:
            self._offer(self._resting.popleft()[1])
        self._send()

    def _send(self) -> None:
        for broker in self._brokers.values():
            if broker.ready and broker.out is None and not self._closed:
                if broker.link is not None and broker.link.expired:
                    self._hang_up(broker)
                if broker.link is None:
                    self._dial(broker)
                else:
                    self._send_to(broker, broker.link)

    def _send_to(self, broker: Broker, link: Link) -> None:
        batches: dict[str, list[tuple[int, bytes]]] = {}
        out, size, time_ms = [], 0, int(time() * 1000)
        while broker.ready and size < _REQUEST_BYTES:
            place = next(iter(broker.ready))
            del broker.ready[place]
            if place.batch is None:
                place.batch = self._batch(place, time_ms)
            place.out = True
            out.append(place)
            data = place.batch.data
            size += len(data)
            batches.setdefault(place.topic, []).append((place.partition, data))
        broker.out, broker.sent_at = out, monotonic()
        try:
            sent = link.send(lambda number, client: produce(number, client, batches, _ACKS_MS))
        except OSError as error:
            self._lose(broker, str(error))
            return
        if not sent:
            self._selector.modify(link.socket, EVENT_READ | EVENT_WRITE, broker)

    def _batch(self, place: Place, time_ms: int) -> Batch:
        """Take what waits, as far as one batch takes it."""
        waiting = place.waiting
        records: list[Outgoing] = []
        size = 0
        while waiting and len(records) < place.room:
            size += _size(waiting[0])
            if records and size > _BATCH_BYTES:
                break
            records.append(waiting.popleft())
        assert self._identity is not None, "nothing is sent before"
        id, epoch = self._identity
        return Batch(records, record_batch(records, time_ms, id, epoch, place.sequence))

    def _receive(self, broker: Broker) -> None:
        link = broker.link
        if link is None:
            return
        try:
            if link.unsent and link.flush():
                self._selector.modify(link.socket, EVENT_READ, broker)
            answer = link.receive()
            if answer is None:
                return
            places = {(place.topic, place.partition): place for place in broker.out or ()}
            answers = {(each.topic, each.partition): each for each in parse_produce(answer)}
            if answers.keys() != places.keys():
                raise ProtocolError("an answer for other partitions than those that were asked for")
        except OSError as error:
            self._lose(broker, str(error))
            return
        broker.out = None
        for key, place in places.items():
            self._settle(place, answers[key])

    def _settle(self, place: Place, answered: Answered) -> None:
        """Take in what became of the batch that was out."""
        place.out = False
        batch, error = place.batch, answered.error
        if batch is None:  # purged meanwhile
            return
        written = error in (0, KafkaError.DUPLICATE_SEQUENCE_NUMBER)
        if not written and not self._purged:
            if error in ELSEWHERE:
                place.leader = None
                self._offer(place)
                return
            if error in FOR_NOW:
                self._resting.append((monotonic() + _RETRY_S, place))
                return
            if error in TOO_LARGE and len(batch.records) > 1:
                self._split(place, batch)
                return
        place.batch = None
        if written:
            place.sequence = (place.sequence + len(batch.records)) & _SEQUENCES
            place.room = RECORDS_MAX
            self._done.append((batch.records, None, -1 if error else answered.offset))
        else:
            reason = answered.reason or None
            self._refuse(batch.records, KafkaError(error, reason, fatal=error in PRODUCER_UNKNOWN))
        self._offer(place)

    def _split(self, place: Place, batch: Batch) -> None:
        """Send half of a batch that was too large: one record must not take others along."""
        place.batch, place.room = None, len(batch.records) // 2
        place.waiting.extendleft(reversed(batch.records))
        self._offer(place)

    def _refuse(self, records: Sequence[Outgoing], error: KafkaError) -> None:
        self._fail(records, error)
        if self._gapless and records:
            self._purge(in_flight=False)

    def _purge(self, in_flight: bool) -> None:
        self._purged = True
        for records in self._unplaced.values():
            self._fail(records, KafkaError(KafkaError._PURGE_QUEUE))
        self._unplaced.clear()
        self._resting.clear()
        for place in self._places.values():
            self._fail(place.waiting, KafkaError(KafkaError._PURGE_QUEUE))
            place.waiting = deque()
            if in_flight or not place.out:
                self._purge_batch(place)
        for broker in self._brokers.values():
            broker.ready.clear()

    def _purge_batch(self, place: Place) -> None:
        if place.batch is not None:
            self._fail(place.batch.records, KafkaError(KafkaError._PURGE_INFLIGHT))
            place.batch = None

    def _fail(self, records: Sequence[Outgoing], error: KafkaError) -> None:
        if records:
            self._done.append((records, error, -1))

    def _lose(self, broker: Broker, why: str) -> None:
        """Ask again who leads what this broker led; what was out is sent again."""
        level = logging.INFO if broker.out is None else logging.WARNING
        client_log.log(level, "%s: %s:%d: %s", self._client, broker.host, broker.port, why)
        self._hang_up(broker)
        broker.lost_at = monotonic()
        out, broker.out = broker.out or (), None
        broker.ready.clear()
        for place in self._places.values():
            if place.leader is broker:
                place.leader = None
        for place in out:
            place.out = False
            if self._purged:
                self._purge_batch(place)
            self._offer(place)
        self._look()

    def _hang_up(self, broker: Broker) -> None:
        if broker.link is not None:
            self._selector.unregister(broker.link.socket)
            broker.link.close()
            broker.link = None

    def _dial(self, broker: Broker) -> None:
        if not broker.dialing:
            broker.dialing = True
            name = f"kafka connection to {broker.host}:{broker.port}"
            Thread(target=self._connect, args=(broker,), name=name, daemon=True).start()

    def _look(self) -> None:
        if not self._looking and not self._closed:
            self._looking = True
            Thread(target=self._look_up, name="kafka leaders", daemon=True).start()

    def _sought(self) -> Sequence[str]:
        """Return the topics of which we do not know who leads what is to be sent."""
        unled = (p.topic for p in self._places.values() if p.leader is None and p.busy)
        return sorted({*self._unplaced, *unled})

    def _learn(self, cluster: Cluster) -> None:
        for node, (host, port) in cluster.brokers.items():
            broker = self._brokers.setdefault(node, Broker(host, port))
            if (broker.host, broker.port) != (host, port):
                self._lose(broker, f"moved to {host}:{port}")
                broker.host, broker.port = host, port
        for name, topic in cluster.topics.items():
            if topic.leaders:
                self._leaders[name] = topic.leaders
                for outgoing in self._unplaced.pop(name, ()):
                    self._put(outgoing)
            unknown: list[Place] = []
            for place in self._places_of(name):
                if place.partition not in topic.leaders:
                    unknown.append(place)
                elif leader := self._brokers.get(topic.leaders[place.partition]):
                    self._move(place, leader)
            if topic.leaders and not unknown:
                self._missing.pop(name, None)
            elif monotonic() > self._missing.setdefault(name, monotonic()) + _MISSING_S:
                self._give_up(name, unknown, topic.error)

    def _move(self, place: Place, leader: Broker) -> None:
        if place.leader is not None and place.leader is not leader:
            place.leader.ready.pop(place, None)
        place.leader = leader
        self._offer(place)

    def _places_of(self, topic: str) -> Iterator[Place]:
        return (place for place in self._places.values() if place.topic == topic)

    def _give_up(self, topic: str, places: Sequence[Place], code: int) -> None:
        """Fail what was produced to a topic, or to partitions of it, that no broker knows."""
        del self._missing[topic]
        error = KafkaError(code or KafkaError._UNKNOWN_PARTITION)
        self._refuse(self._unplaced.pop(topic, ()), error)
        for place in places:
            if not place.out and place.batch is not None:
                batch, place.batch = place.batch, None
                self._refuse(batch.records, error)
            waiting, place.waiting = place.waiting, deque()
            self._refuse(waiting, error)

    # --- who polls --------------------------------------------------------------------------------

    def _call_back(self) -> int:
        """Tell the senders, without the lock, since they may produce again."""
        called = 0
        done = self._done
        while done:
            records, error, offset = done.popleft()
            for number, outgoing in enumerate(records):
                if error is not None:
                    outgoing.delivered(error, None)
                else:
                    outgoing.delivered(None, Taken(offset + number if offset >= 0 else -1))
            called += len(records)
        if called:
            with self._lock:
                self._count -= called
        return called

    # --- threads ----------------------------------------------------------------------------------

    def _connect(self, broker: Broker) -> None:
        try:
            link = Link(broker.host, broker.port, self._security, self._client)
        except NO_ANSWER as error:
            with self._lock:
                broker.dialing = False
                self._lose(broker, str(error))
            return
        link.unblock()
        with self._lock:
            broker.dialing = False
            if self._closed:
                link.close()
                return
            broker.link = link
            self._selector.register(link.socket, EVENT_READ, broker)
            self._send()

    def _look_up(self) -> None:
        """Ask brokers until we know who we are and who leads what is to be sent."""
        while True:
            with self._lock:
                topics, nobody = self._sought(), self._identity is None
                if self._closed or not (topics or nobody):
                    self._looking = False
                    return
            try:
                cluster, identity = self._ask(topics, identify=nobody)
            except NO_ANSWER as error:
                client_log.warning("%s: no broker serves us yet: %s", self._client, error)
            else:
                with self._lock:
                    self._identity = identity or self._identity
                    self._learn(cluster)
                    self._send()
                    if not self._sought():
                        continue
            sleep(_RETRY_S)

    def _ask(self, topics: Sequence[str], *, identify: bool) -> tuple[Cluster, Identity | None]:
        """Ask the brokers that we know; those that were lost last come last."""
        with self._lock:
            known = sorted(self._brokers.values(), key=lambda broker: broker.lost_at)
            addresses = [*((broker.host, broker.port) for broker in known), *self._bootstrap]
        return ask(addresses, self._security, self._client, topics, identify=identify)


def _size(outgoing: Outgoing) -> int:
    return len(outgoing.key or b"") + len(outgoing.value or b"")
