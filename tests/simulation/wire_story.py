"""The story of one seed for the native producer: its machine, brokers, and a network in between.

The network loses requests and answers, falls silent, and delivers what it has long after. Brokers
refuse, move, and forget producers. A producer that ended has a successor. Then it is calm, and
all that was produced has to have an outcome, which the logs have to bear out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from random import Random

from confluent_kafka import KafkaError

from processor.kafka.clients.connection import murmur2
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.wire.machine import ANSWER_S, Machine, Search
from processor.kafka.wire.places import Place, WireBroker
from processor.kafka.wire.protocol import BatchAnswer, Batches, Identity, ProtocolError
from processor.kafka.wire.records import Records
from processor.simulation.scheduler import Scheduler
from tests.wire.scripted import SEQUENCES
from tests.wire.scripted import Place as LogPlace

from .wire_brokers import BATCH_BYTES_MAX, NODES, TOPICS, Brokers
from .wire_chances import Chances

__all__ = ("WireStory", "play_producer")

_RECORDS = 60
_CHAOS_MS = 7_000
_CALM_MS = 60_000
"""After so long a calm nothing may be in doubt."""


class Numbered(Records):
    """Records that have ``begins`` as the sequence number of each partition's first batch."""

    def __init__(self, begins: int, *, gapless: bool, random: Random) -> None:
        super().__init__(gapless=gapless, random=random)
        self._begins = begins

    def _new_place(self, topic: str, partition: int) -> Place:
        place = super()._new_place(topic, partition)
        place.sequence = self._begins
        return place


class Connection:
    """``broker`` is what the machine calls its other end."""

    def __init__(self, broker: WireBroker) -> None:
        self.broker = broker


class Life:
    """One producer. ``produced`` are its records and their places, ``outcomes`` what it said."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.machine = Machine(records)
        self.connections: dict[WireBroker, Connection] = {}
        self.produced: dict[int, LogPlace] = {}
        self.outcomes: dict[int, int | KafkaError] = {}
        self.searching = False
        self.purged = False

    @property
    def drained(self) -> bool:
        return len(self.outcomes) == len(self.produced)


class WireStory:
    def __init__(self, seed: int) -> None:
        self.scheduler = Scheduler(seed)
        random = self.scheduler.random
        self.chances = Chances(random)
        self.gapless = random.random() < 0.5
        self.begins = random.choice((0, SEQUENCES - random.randrange(1, 4)))
        self.brokers = Brokers(self.chances, narrows=self.gapless, begins=self.begins)
        self.quiet: set[LogPlace] = set(self.brokers.logs)
        self.late = 0
        self.forgotten = False
        self.lives: list[Life] = []
        self._next = 0

    @property
    def life(self) -> Life:
        return self.lives[-1]

    def run(self) -> None:
        """Play it to its end. Raises ``AssertionError`` where something stays in doubt."""
        scheduler = self.scheduler
        self._begin()
        self._tick()
        for _ in range(_RECORDS):
            scheduler.after(scheduler.random.randrange(_CHAOS_MS), "produce", self._produce)
        scheduler.after(_CHAOS_MS + 1_000, "calm", self._calm_down)
        until = scheduler.now_ms + _CHAOS_MS + _CALM_MS
        while not (self.chances.calm and self._next == _RECORDS and self.life.drained):
            assert scheduler.step(until), "a record stays in doubt for ever"

    # --- producers --------------------------------------------------------------------------------

    def _begin(self) -> None:
        random = self.scheduler.random
        self.lives.append(Life(Numbered(self.begins, gapless=self.gapless, random=random)))

    def _produce(self) -> None:
        life = self.life
        failed = any(isinstance(each, KafkaError) for each in life.outcomes.values())
        if life.purged or life.records.ended is not None or (self.gapless and failed):
            if not life.drained:
                self.scheduler.after(1_000, "produce", self._produce)
                return
            self._begin()
            life = self.life
        self._befall()
        record = self._record()
        life.produced[self._next] = record.topic, _partition(record)
        self._next += 1
        life.records.produce(record)
        if self.chances.strike("purged", 0.01):
            life.purged = True
            life.records.purge(in_flight=self.scheduler.random.random() < 0.5)
        if self.scheduler.random.random() < 0.5:  # else it is sent together with the next one
            self._go_on(life)

    def _record(self) -> Outgoing:
        random = self.scheduler.random
        size = BATCH_BYTES_MAX * 2 if self.chances.strike("large", 0.02) else 4
        value = self._next.to_bytes(4, "big") + random.randbytes(size)
        topic = random.choices(list(TOPICS), (6, 2, 1))[0]
        partition = random.randrange(TOPICS[topic]) if topic == "events" else -1
        return Outgoing(topic, partition, value[:4], value, lambda *_: None)

    def _go_on(self, life: Life) -> None:
        """Do what the machine wants to be done, as the shell around it does."""
        machine, now = life.machine, self._now()
        for broker in list(machine.brokers.values()):
            if broker.out is not None and now - broker.sent_at > ANSWER_S:
                self._lose(life, life.connections[broker])
        for broker in machine.due(now):
            if broker.up:
                assert not life.records.purged, "nothing is sent after a purge"
                batches = machine.request(broker, now, self.scheduler.now_ms)
                self._send(life, life.connections[broker], batches)
            else:
                self._soon("connect", partial(self._connect, life, broker, broker.port))
        if life.records.seeks and not life.searching:
            life.searching = True
            self._search(life)
        self._take_outcomes(life)

    def _take_outcomes(self, life: Life) -> None:
        while life.records.outcomes:
            records, error, offset = life.records.outcomes.popleft()
            for index, record in enumerate(records):
                number = _number(record.value or b"")
                assert number not in life.outcomes, "an outcome is told once"
                known = offset + index if offset >= 0 else -1
                life.outcomes[number] = known if error is None else error

    def _now(self) -> float:
        return self.scheduler.now_ms / 1000

    def _soon(self, name: str, run: partial[None]) -> None:
        self.scheduler.after(self.scheduler.random.randrange(1, 20), name, run)

    def _tick(self) -> None:
        self._go_on(self.life)
        self.scheduler.after(self.scheduler.random.randrange(20, 300), "tick", self._tick)

    # --- the network ------------------------------------------------------------------------------

    def _connect(self, life: Life, broker: WireBroker, port: int) -> None:
        if self.brokers.node_at(port) is None or self.chances.strike("not connected", 0.05):
            life.machine.unreachable(broker, None, self._now())
        else:
            life.connections[broker] = Connection(broker)
            life.machine.connected(broker)
        self._go_on(life)

    def _send(self, life: Life, connection: Connection, batches: Batches) -> None:
        self.quiet.difference_update(
            (topic, partition) for topic, each in batches.items() for partition, _ in each
        )
        chances, lose = self.chances, partial(self._lose, life, connection)
        if chances.strike("request lost", 0.03):
            self._soon("hang up", partial(lose))
        elif chances.strike("request lost in silence", 0.005):
            pass
        elif chances.strike("request late", 0.03):
            self._soon("hang up", partial(lose))
            self.late += 1
            arrive = partial(self._arrive_late, life, connection, batches)
            self.scheduler.after(self.scheduler.random.randrange(3_000), "arrive late", arrive)
        else:
            self._soon("arrive", partial(self._arrive, life, connection, batches))

    def _arrive(self, life: Life, connection: Connection, batches: Batches) -> None:
        node = self.brokers.node_at(connection.broker.port)
        if node is None:
            self._lose(life, connection)
            return
        answers = self.brokers.produce(node, batches)
        if self.chances.strike("answer lost", 0.04):
            self._soon("hang up", partial(self._lose, life, connection))
        elif not self.chances.strike("answer lost in silence", 0.005):
            self._soon("answer", partial(self._answer, life, connection, answers))

    def _arrive_late(self, life: Life, connection: Connection, batches: Batches) -> None:
        self.late -= 1
        self._arrive(life, connection, batches)

    def _answer(self, life: Life, connection: Connection, answers: Sequence[BatchAnswer]) -> None:
        broker = connection.broker
        if life.connections.get(broker) is not connection:
            return
        if self.chances.strike("answered for others", 0.01):
            answers = answers[1:]
        try:
            life.machine.answered(broker, answers, self._now())
        except ProtocolError:
            self._lose(life, connection)
            return
        self.quiet.update((each.topic, each.partition) for each in answers if not each.error)
        self._go_on(life)

    def _lose(self, life: Life, connection: Connection) -> None:
        if life.connections.get(connection.broker) is connection:
            del life.connections[connection.broker]
            life.machine.lost(connection.broker, self._now())
            self._go_on(life)

    def _search(self, life: Life) -> None:
        search = life.machine.search(self._now())
        if search is None:
            life.searching = False
            return
        delay_ms = int(search.wait_s * 1000) + self.scheduler.random.randrange(1, 20)
        self.scheduler.after(delay_ms, "look", partial(self._learn, life, search))

    def _learn(self, life: Life, search: Search) -> None:
        machine, brokers = life.machine, self.brokers
        if len(brokers.down) == NODES or self.chances.strike("nobody answers", 0.05):
            machine.unanswered(None)
        else:
            identity = Identity(brokers.identify(), 0) if search.identify else None
            learnt = brokers.metadata(search.topics)
            for broker in machine.learnt(learnt, identity, self._now()):
                life.connections.pop(broker, None)
            self._go_on(life)
        self._search(life)

    # --- what befalls the brokers -----------------------------------------------------------------

    def _befall(self) -> None:
        chances, brokers, random = self.chances, self.brokers, self.scheduler.random
        place = random.choice(list(brokers.logs))
        if chances.strike("another leader", 0.05):
            brokers.leaders[place] = random.randrange(NODES)
        if chances.strike("no leader", 0.02):
            brokers.leaders[place] = -1
        if chances.strike("a node goes down", 0.02):
            brokers.down.add(random.randrange(NODES))
        if brokers.down and random.random() < 0.2:
            brokers.down.pop()
        if chances.strike("a node moves", 0.02):
            brokers.move(random.randrange(NODES))
        if place in self.quiet and not self.late and chances.strike("forgotten", 0.01):
            self.forgotten = True
            brokers.logs[place].producers.clear()
        if random.random() < 0.03:
            brokers.made.add("new")

    def _calm_down(self) -> None:
        self.chances.calm = True
        self.brokers.down.clear()
        self.brokers.made.add("new")
        for place, leader in self.brokers.leaders.items():
            self.brokers.leaders[place] = max(leader, 0)


def check(story: WireStory) -> Counter[str]:
    """Hold what the producers said against the logs; return what was checked, and how often."""
    offsets: dict[int, int] = {}
    for place, log in story.brokers.logs.items():
        for offset, (_, value) in enumerate(log.records):
            number = _number(value or b"")
            assert number not in offsets, "a record stands in the log at most once"
            offsets[number] = offset
            assert any(life.produced.get(number) == place for life in story.lives)
    checked: Counter[str] = Counter()
    for life in story.lives:
        assert life.records.ended is None or story.forgotten, "a producer ends for a cause"
        for number, outcome in life.outcomes.items():
            if isinstance(outcome, int):
                assert number in offsets, "what is delivered stands in the log"
                assert outcome in (-1, offsets[number]), "it stands where it is said to stand"
            elif number in offsets:
                _, value = story.brokers.logs[life.produced[number]].records[offsets[number]]
                assert (
                    (value, outcome.code()) in story.brokers.refusals
                    or outcome.code() == KafkaError._PURGE_INFLIGHT
                    or life.records.ended is not None
                ), "what is there was refused by a broker"
        for place in story.brokers.logs:
            sent = [number for number, to in life.produced.items() if to == place]
            there = [offsets[number] for number in sent if number in offsets]
            assert there == sorted(there), "records stand in the order in which they were sent"
            if story.gapless:
                first = sent[: len(there)]
                assert all(number in offsets for number in first), "a gapless log has no hole"
        checked["producer: an outcome is true"] += len(life.outcomes)
    checked["producer: a log has its records once, in order"] += len(story.brokers.logs)
    return checked


def _partition(record: Outgoing) -> int:
    if record.partition >= 0:
        return record.partition
    return (murmur2(record.key or b"") & 0x7FFFFFFF) % TOPICS[record.topic]


def _number(value: bytes) -> int:
    return int.from_bytes(value[:4], "big")


def play_producer(seed: int) -> tuple[Counter[str], Counter[str]]:
    """Play a seed; return the faults that were injected and the invariants that were checked."""
    story = WireStory(seed)
    try:
        story.run()
        return story.chances.injected, check(story)
    except Exception as error:
        error.add_note("\n".join(("the producer's last steps:", *story.scheduler.recent)))
        raise
