"""An idempotent producer that sends one request to each broker, for all partitions that it leads.

A broker takes the requests of a connection one by one, and answers ``acks=all`` when the replicas
have them. So one request is out to each broker, and what is produced meanwhile travels in the next:
the busier, the larger. For each partition one batch is out at the most, and it is sent again as it
is until a broker answers for it; brokers drop what they have already by its sequence number.

Connections are made, and leaders looked up, by threads of their own that end with their task. All
that is tried again is tried ever more seldom, up to once a second.

A fatal error ends a producer for all: what waits is called back with it, ``produce`` raises it, and
``poll`` does so once.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from threading import Lock
from time import monotonic, sleep, time
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from processor.kafka.clients.background import guarded_thread
from processor.kafka.clients.backoff import Pace
from processor.kafka.clients.connection import LOG_RECORD_BYTES_MAX
from processor.kafka.clients.faults import ELSEWHERE, FOR_NOW, PRODUCER_UNKNOWN, TOO_LARGE
from processor.kafka.clients.log import client_log
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.wire.asking import NO_ANSWER, Identity, addresses_of, ask, refusal
from processor.kafka.wire.link import Link
from processor.kafka.wire.places import Broker, Place, partition_for, size_of, tell
from processor.kafka.wire.protocol import Answered, Cluster, ProtocolError, parse_produce, produce
from processor.kafka.wire.security import Security

__all__ = ("WireProducer",)

_ACKS_MS: Final = 15_000
"""How long a broker waits for its replicas before it says that it did."""

_ANSWER_S: Final = 20.0
_RETRY_S: Final = 0.05
_RETRY_MAX_S: Final = 1.0
_REFUSALS_MAX: Final = 8
"""So often in a row we may not be let in, by all brokers or by one of them."""

_MISSING_S: Final = 5.0
"""How long a topic may be unknown: brokers hear of a new one one after the other."""

_REQUEST_BYTES: Final = 8_000_000
_EPOCH_MAX: Final = 0x7FFF


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
        self._resting: list[tuple[float, Place]] = []
        self._done: deque[tuple[Sequence[Outgoing], KafkaError | None, int]] = deque()
        self._selector = DefaultSelector()
        self._count = 0
        self._identity: Identity | None = None
        self._looking = False
        self._asking = _pace()
        self._purged = False
        self._ended: KafkaError | None = None
        self._told = False
        self._closed = False
        with self._lock:
            self._look()

    def __len__(self) -> int:
        """Return how many records were not called back yet."""
        return self._count

    def produce(self, outgoing: Outgoing) -> None:
        """Take a record, to send it with the next request."""
        if self._ended is not None:
            raise KafkaException(self._ended)
        if size_of(outgoing) > LOG_RECORD_BYTES_MAX:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        with self._lock:
            self._count += 1
            if self._purged:
                self._fail((outgoing,), self._ended or KafkaError(KafkaError._PURGE_QUEUE))
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
        called = self._call_back()
        if self._ended is not None and not called and not self._told:
            self._told = True
            raise KafkaException(self._ended)
        return called

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
            partition = partition_for(key, len(self._leaders[topic]))
        place = self._places.get((topic, partition)) or self._new_place(topic, partition)
        place.waiting.append(outgoing)
        if place.batch is None:
            self._offer(place)

    def _new_place(self, topic: str, partition: int) -> Place:
        leader = self._brokers.get(self._leaders.get(topic, {}).get(partition, -1))
        place = self._places[topic, partition] = Place(topic, partition, _pace(), leader)
        return place

    def _offer(self, place: Place) -> None:
        """Let the place's leader have what it holds, once that is known."""
        if place.out or place.resting or not place.busy:
            return
        if place.leader is None:
            self._look()
        else:
            place.leader.ready[place] = None

    def _rest(self, place: Place) -> None:
        """Offer it again after a while."""
        place.resting = True
        self._resting.append((monotonic() + place.pace.wait_s(), place))

    def _advance(self) -> None:
        now = monotonic()
        for broker in self._brokers.values():
            if broker.out is not None:
                self._receive(broker)
                if broker.out is not None and now - broker.sent_at > _ANSWER_S:
                    self._lose(broker, f"no answer within {_ANSWER_S:.0f} s")
        if self._resting:
            for each in [each for each in self._resting if each[0] <= now]:
                self._resting.remove(each)
                each[1].resting = False
                self._offer(each[1])
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
        assert self._identity is not None, "nothing is sent before"
        out, size, time_ms = [], 0, int(time() * 1000)
        while broker.ready and size < _REQUEST_BYTES:
            place = next(iter(broker.ready))
            del broker.ready[place]
            if place.batch is None:
                place.batch = place.next_batch(time_ms, *self._identity)
            place.batch.tries += 1
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
        doubtful = self._gapless and batch.tries > 1  # the log must not have records twice
        if error in (0, KafkaError.DUPLICATE_SEQUENCE_NUMBER):
            place.go_on()
            self._done.append((batch.records, None, -1 if error else answered.offset))
        elif not self._purged and error in ELSEWHERE | FOR_NOW:
            if error in ELSEWHERE:
                place.leader = None
            self._rest(place)
        elif not self._purged and error in TOO_LARGE and len(batch.records) > 1 and not doubtful:
            self._split(place)
        else:
            fatal = error in PRODUCER_UNKNOWN
            cause = KafkaError(error, answered.reason or None, fatal=fatal)
            self._refuse_batch(place, cause)
            if fatal:
                self._end(cause)
        self._offer(place)

    def _split(self, place: Place) -> None:
        """Send half of a batch that was too large: one record must not take others along."""
        records = place.drop()
        place.room = len(records) // 2
        place.waiting.extendleft(reversed(records))

    def _refuse_batch(self, place: Place, error: KafkaError) -> None:
        self._refuse(place.drop(), error)
        if self._identity is not None and self._identity.epoch + place.epoch > _EPOCH_MAX:
            self._end(KafkaError(KafkaError._FATAL, "its last epoch is used up", fatal=True))

    def _refuse(self, records: Sequence[Outgoing], error: KafkaError) -> None:
        self._fail(records, error)
        if self._gapless and records:
            self._purge(in_flight=False)

    def _end(self, error: KafkaError) -> None:
        """Give up for ever, except what is out."""
        if self._ended is None:
            self._ended = error
            self._purge(in_flight=False, error=error)

    def _purge(self, in_flight: bool, error: KafkaError | None = None) -> None:
        self._purged = True
        given_up = error or KafkaError(KafkaError._PURGE_QUEUE)
        for records in self._unplaced.values():
            self._fail(records, given_up)
        self._unplaced.clear()
        self._resting.clear()
        for place in self._places.values():
            place.resting = False
            if in_flight or not place.out:
                self._fail(place.drop(), error or KafkaError(KafkaError._PURGE_INFLIGHT))
            self._fail(place.waiting, given_up)
            place.waiting = deque()
        for broker in self._brokers.values():
            broker.ready.clear()

    def _fail(self, records: Sequence[Outgoing], error: KafkaError) -> None:
        if records:
            self._done.append((records, error, -1))

    def _lose(self, broker: Broker, why: str) -> None:
        """Ask again who leads what this broker led; what was out is sent again."""
        level = logging.INFO if broker.out is None else logging.WARNING
        client_log.log(level, "%s: %s:%d: %s", self._client, *broker.address, why)
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
                self._fail(place.drop(), KafkaError(KafkaError._PURGE_INFLIGHT))
            self._offer(place)
        self._look()

    def _hang_up(self, broker: Broker) -> None:
        if broker.link is not None:
            self._selector.unregister(broker.link.socket)
            broker.link.close()
            broker.link = None

    def _dial(self, broker: Broker) -> None:
        if not broker.dialing and broker.pace.due:
            broker.dialing = True
            broker.pace.wait_s()
            self._start(f"kafka connection to {broker.host}:{broker.port}", self._connect, broker)

    def _look(self) -> None:
        if not (self._looking or self._closed or self._purged):
            self._looking = True
            self._start("kafka leaders", self._look_up)

    def _start(self, name: str, work: Callable[..., None], *args: Any) -> None:
        try:
            guarded_thread(name, partial(work, *args), self._died).start()
        except RuntimeError as error:  # the process, or its container, may have no more of them
            self._end(KafkaError(KafkaError._FATAL, f"no thread for {name}: {error}", fatal=True))

    def _sought(self) -> Sequence[str]:
        """Return the topics of which we do not know who leads what is to be sent."""
        places = self._places.values()
        unled = (p.topic for p in places if p.leader is None and p.busy and not p.resting)
        return sorted({*self._unplaced, *unled})

    def _learn(self, cluster: Cluster) -> None:
        for node, (host, port) in cluster.brokers.items():
            broker = self._brokers.setdefault(node, Broker(host, port, _pace()))
            if broker.address != (host, port):
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
        for node in self._brokers.keys() - cluster.brokers.keys():
            self._forget(node)

    def _forget(self, node: int) -> None:
        """Forget a broker that the others do not name any more, unless it still answers."""
        broker = self._brokers[node]
        leads = any(place.leader is broker for place in self._places.values())
        if not (broker.link or broker.dialing or leads):
            del self._brokers[node]

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
            if not place.out:
                self._refuse_batch(place, error)
            waiting, place.waiting = place.waiting, deque()
            self._refuse(waiting, error)
            if not (place.out or place.used):
                del self._places[topic, place.partition]

    # --- who polls --------------------------------------------------------------------------------

    def _call_back(self) -> int:
        """Tell the senders, without the lock, since they may produce again."""
        called, failure, done = 0, None, self._done
        while done:
            records, error, offset = done.popleft()
            failure = tell(records, error, offset) or failure
            called += len(records)
        if called:
            with self._lock:
                self._count -= called
        if failure is not None:
            raise failure
        return called

    # --- threads ----------------------------------------------------------------------------------

    def _died(self, error: Exception) -> None:
        """Nobody would connect, or look, again."""
        with self._lock:
            self._end(KafkaError(KafkaError._FATAL, f"a thread of it died: {error!r}", fatal=True))

    def _connect(self, broker: Broker) -> None:
        try:
            link = Link(broker.host, broker.port, self._security, self._client)
        except NO_ANSWER as error:
            with self._lock:
                broker.dialing = False
                broker.refusals = self._refused(error, broker.refusals)
                self._lose(broker, str(error))
            return
        link.unblock()
        with self._lock:
            broker.dialing = False
            if self._closed:
                link.close()
                return
            broker.link, broker.refusals = link, 0
            self._selector.register(link.socket, EVENT_READ, broker)
            self._send()

    def _look_up(self) -> None:
        """Ask brokers until we know who we are and who leads what is to be sent."""
        refusals, failed = 0, False
        while True:
            with self._lock:
                topics, nobody = self._sought(), self._identity is None
                if self._closed or self._purged or not (topics or nobody):
                    self._looking = False
                    return
                known = self._leaders.keys() | self._missing.keys()
            if failed or (not nobody and known.issuperset(topics)):  # not for the first time
                sleep(self._asking.wait_s())
            try:
                cluster, identity = self._ask(topics, identify=nobody)
            except NO_ANSWER as error:
                client_log.warning("%s: no broker serves us yet: %s", self._client, error)
                failed = True
                with self._lock:
                    refusals = self._refused(error, refusals)
                continue
            refusals, failed = 0, False
            with self._lock:
                self._identity = identity or self._identity
                self._learn(cluster)
                self._send()

    def _refused(self, error: Exception, refusals: int) -> int:
        """Count how often in a row we were not let in; too often is the end."""
        told = refusal(error)
        if told is None:
            return 0
        if refusals + 1 >= _REFUSALS_MAX:
            reason = f"{told.str()} ({_REFUSALS_MAX} times in a row)"
            self._end(KafkaError(told.code(), reason, fatal=True))
        return refusals + 1

    def _ask(self, topics: Sequence[str], *, identify: bool) -> tuple[Cluster, Identity | None]:
        """Ask the brokers that we know; those that were lost last come last."""
        with self._lock:
            known = sorted(self._brokers.values(), key=lambda broker: broker.lost_at)
        named = dict.fromkeys((*(broker.address for broker in known), *self._bootstrap))
        return ask(list(named), self._security, self._client, topics, identify=identify)


def _pace() -> Pace:
    return Pace(_RETRY_S, _RETRY_MAX_S)
