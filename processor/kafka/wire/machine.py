"""What an idempotent producer does, without sockets, threads and clocks.

It is told what was produced, answered, lost and learnt, and what time it is (``now``, in seconds).
Out of it come whom to send what (``due``, ``request``), what to ask (``search``), and the outcomes
of records.

A broker takes the requests of a connection one by one, and answers ``acks=all`` when the replicas
have them. So one request is out to each broker, and what is produced meanwhile travels in the next:
the busier, the larger. For each partition one batch is out at the most, and it is sent again as it
is until a broker answers for it; brokers drop what they have already by its sequence number.

All that is tried again is tried ever more seldom, up to once a second. A fatal error ends a
producer for all: what waits has it as its outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaError

from processor.kafka.wire.places import Place, WireBroker
from processor.kafka.wire.protocol import BatchAnswer, Batches, Cluster, Identity, ProtocolError
from processor.kafka.wire.records import Records

__all__ = ("ANSWER_S", "Machine", "Search")

ANSWER_S: Final = 20.0
"""How long a broker that is asked to write may say nothing."""

_REFUSALS_MAX: Final = 8
"""So often in a row we may not be let in, by all brokers or by one of them."""

_MISSING_S: Final = 5.0
"""How long a topic may be unknown: brokers hear of a new one one after the other."""

_REQUEST_BYTES: Final = 8_000_000


class Search(NamedTuple):
    """Ask who leads these topics, and for an id if ``identify``, after ``wait_s``."""

    topics: Sequence[str]
    identify: bool
    wait_s: float


class Machine:
    """``records`` takes what is produced, and has the outcomes."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.brokers = records.brokers
        self._missing: dict[str, float] = {}
        self._asking = records.pace()
        self._failed = False
        self._refusals = 0

    # --- what is to be done -----------------------------------------------------------------------

    def due(self, now: float) -> Sequence[WireBroker]:
        """Return whom to send a ``request``, or to connect to where there is no connection."""
        if self.records.resting:
            self.records.wake(now)
        return [
            broker
            for broker in self.brokers.values()
            if broker.ready and broker.out is None and (broker.up or self._dials(broker, now))
        ]

    def request(self, broker: WireBroker, now: float, time_ms: int) -> Batches:
        """Return what to send to a broker that is due; ``time_ms`` is the time of the records."""
        identity = self.records.identity
        assert identity is not None, "nothing is sent before"
        batches: dict[str, list[tuple[int, bytes]]] = {}
        out, size = [], 0
        while broker.ready and size < _REQUEST_BYTES:
            place = next(iter(broker.ready))
            del broker.ready[place]
            if place.batch is None:
                place.batch = place.next_batch(time_ms, *identity)
            place.batch.tries += 1
            place.out = True
            out.append(place)
            data = place.batch.data
            size += len(data)
            batches.setdefault(place.topic, []).append((place.partition, data))
        broker.out, broker.sent_at = out, now
        return batches

    def search(self, now: float) -> Search | None:
        """Return what is to be asked; ``learnt`` or ``unanswered`` afterwards, then ask again."""
        records = self.records
        topics, nobody = records.sought(), records.identity is None
        if records.purged or not (topics or nobody):
            records.seeks = False
            return None
        known = records.leaders.keys() | self._missing.keys()
        again = self._failed or (not nobody and known.issuperset(topics))
        return Search(topics, nobody, self._asking.wait_s(now) if again else 0.0)

    def _dials(self, broker: WireBroker, now: float) -> bool:
        """Return whether to connect now; if so, that is taken as begun."""
        if broker.dialing or not broker.pace.due(now):
            return False
        broker.dialing = True
        broker.pace.wait_s(now)
        return True

    # --- what brokers say -------------------------------------------------------------------------

    def connected(self, broker: WireBroker) -> None:
        broker.dialing, broker.up, broker.refusals = False, True, 0

    def unreachable(self, broker: WireBroker, refusal: KafkaError | None, now: float) -> None:
        """Take in that there is no connection; ``refusal``: we were not let in."""
        broker.dialing = False
        broker.refusals = self._refused(refusal, broker.refusals)
        self.lost(broker, now)

    def lost(self, broker: WireBroker, now: float) -> None:
        """Ask again who leads what this broker led; what was out is sent again."""
        broker.up, broker.lost_at = False, now
        out, broker.out = broker.out or (), None
        broker.ready.clear()
        for place in self.records.places.values():
            if place.leader is broker:
                place.leader = None
        for place in out:
            self.records.lost(place)
        self.records.seeks = not self.records.purged

    def answered(self, broker: WireBroker, answers: Iterable[BatchAnswer], now: float) -> None:
        """Take in what became of the batches that were out. Raises ``ProtocolError``."""
        places = {(place.topic, place.partition): place for place in broker.out or ()}
        answered = {(each.topic, each.partition): each for each in answers}
        if answered.keys() != places.keys():
            raise ProtocolError("an answer for other partitions than those that were asked for")
        broker.out = None
        for key, place in places.items():
            self.records.settle(place, answered[key], now)

    def unanswered(self, refusal: KafkaError | None) -> None:
        """Take in that no broker answered what was asked; ``refusal``: we were not let in."""
        self._failed = True
        self._refusals = self._refused(refusal, self._refusals)

    def learnt(
        self, cluster: Cluster, identity: Identity | None, now: float
    ) -> Sequence[WireBroker]:
        """Take in who leads what; return the brokers that have another address now."""
        records = self.records
        self._failed, self._refusals = False, 0
        records.identity = identity or records.identity
        moved = []
        for node, (host, port) in cluster.brokers.items():
            broker = self.brokers.setdefault(node, WireBroker(host, port, records.pace()))
            if broker.address != (host, port):
                moved.append(broker)
                self.lost(broker, now)
                broker.host, broker.port = host, port
        for name, topic in cluster.topics.items():
            if topic.leaders:
                records.placed(name, topic.leaders)
            unknown: list[Place] = []
            for place in records.places_of(name):
                if place.partition not in topic.leaders:
                    unknown.append(place)
                elif leader := self.brokers.get(topic.leaders[place.partition]):
                    records.move(place, leader)
            if topic.leaders and not unknown:
                self._missing.pop(name, None)
            elif now > self._missing.setdefault(name, now) + _MISSING_S:
                del self._missing[name]
                records.give_up(name, unknown, topic.error)
        for node in self.brokers.keys() - cluster.brokers.keys():
            self._forget(node)
        return moved

    def _refused(self, refusal: KafkaError | None, refusals: int) -> int:
        """Count how often in a row we were not let in; too often is the end."""
        if refusal is None:
            return 0
        if refusals + 1 >= _REFUSALS_MAX:
            reason = f"{refusal.str()} ({_REFUSALS_MAX} times in a row)"
            self.records.end(KafkaError(refusal.code(), reason, fatal=True))
        return refusals + 1

    def _forget(self, node: int) -> None:
        """Forget a broker that the others do not name any more, unless it still answers."""
        broker = self.brokers[node]
        leads = any(place.leader is broker for place in self.records.places.values())
        if not (broker.up or broker.dialing or leads):
            del self.brokers[node]
