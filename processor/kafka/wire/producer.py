"""An idempotent producer: the sockets and threads around ``Machine``.

Connections are made, and leaders looked up, by threads of their own that end with their task. No
thread stands between who produces and the sockets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from threading import Lock
from time import monotonic, sleep, time
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from processor.kafka.clients.connection import LOG_RECORD_BYTES_MAX
from processor.kafka.clients.log import client_log
from processor.kafka.clients.record_producer import Outgoing
from processor.kafka.clients.threads import guarded_thread
from processor.kafka.wire.asking import NO_ANSWER, Address, addresses_of, ask, refusal
from processor.kafka.wire.link import Link
from processor.kafka.wire.machine import ANSWER_S, Machine
from processor.kafka.wire.places import WireBroker, size_of, tell
from processor.kafka.wire.protocol import Batches, parse_produce, produce
from processor.kafka.wire.records import Records
from processor.kafka.wire.security import Security
from processor.kafka.wire.versions import PRODUCE, Unfit

__all__ = ("WireProducer",)

_ACKS_MS: Final = 15_000
"""How long a broker waits for its replicas before it says that it did."""


class WireProducer:
    """Thread-safe; ``poll`` is for one thread at a time, which makes the calls to ``delivered``.

    ``gapless``: once a record is refused, nothing that was produced after it is sent. A fatal error
    is raised by ``produce``, and by ``poll`` once. ``unfit`` is told, before the producer ends for
    that, why a broker takes no version of what it writes.
    """

    def __init__(
        self,
        servers: str,
        security: Security,
        client: str,
        *,
        gapless: bool = False,
        unfit: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._bootstrap = addresses_of(servers)
        self._security = security
        self._client = client
        self._unfit = unfit
        self._lock = Lock()
        self._records = Records(gapless=gapless)
        self._machine = Machine(self._records)
        self._links: dict[WireBroker, Link] = {}
        self._selector = DefaultSelector()
        self._count = 0
        self._looking = False
        self._told = False
        self._closed = False
        with self._lock:
            self._look()

    def __len__(self) -> int:
        """Return how many records were not called back yet."""
        return self._count

    def produce(self, outgoing: Outgoing) -> None:
        """Take a record, to send it with the next request."""
        if self._records.ended is not None:
            raise KafkaException(self._records.ended)
        if size_of(outgoing) > LOG_RECORD_BYTES_MAX:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        with self._lock:
            self._count += 1
            if self._records.produce(outgoing):
                self._look()

    def send(self) -> bool:
        """Begin to send what was produced; return whether it may wait for an answer first."""
        with self._lock:
            waits = [broker for broker in self._machine.brokers.values() if broker.out is not None]
            self._go_on(monotonic())
            return bool(waits)

    def poll(self, timeout_s: float) -> int:
        """Take in answers, waiting for one if none is there; return how many records they end."""
        records = self._records
        with self._lock:
            self._advance()
        if timeout_s and not records.outcomes and not self._closed:
            heard = self._selector.select(timeout_s)
            with self._lock:
                for key, _ in heard:
                    if key.data.out is None:  # nothing was asked: it hung up
                        self._receive(key.data, monotonic())
                self._advance()
        called = self._call_back()
        if records.ended is not None and not called and not self._told:
            self._told = True
            raise KafkaException(records.ended)
        return called

    def purge(self, *, in_flight: bool) -> None:
        """Give up what was not sent, and what is out if asked. Nothing is sent from now on."""
        with self._lock:
            self._records.purge(in_flight=in_flight)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for broker in list(self._links):
                self._hang_up(broker)
            self._selector.close()

    def _call_back(self) -> int:
        """Tell the senders, without the lock, since they may produce again."""
        called, failure, outcomes = 0, None, self._records.outcomes
        while outcomes:
            records, error, offset = outcomes.popleft()
            failure = tell(records, error, offset) or failure
            called += len(records)
        if called:
            with self._lock:
                self._count -= called
        if failure is not None:
            raise failure
        return called

    # --- all below holds the lock, up to the threads ----------------------------------------------

    def _advance(self) -> None:
        """Take in what is there, and go on."""
        now = monotonic()
        for broker in self._machine.brokers.values():
            if broker.out is not None:
                self._receive(broker, now)
                if broker.out is not None and now - broker.sent_at > ANSWER_S:
                    self._lose(broker, f"no answer within {ANSWER_S:.0f} s")
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Do what is to be done now."""
        if self._closed:
            return
        if self._security.sasl is not None:
            self._end_sessions()
        for broker in self._machine.due(now):
            if broker.up:
                batches = self._machine.request(broker, now, int(time() * 1000))
                self._send_to(broker, self._links[broker], batches)
            else:
                name = f"kafka connection to {broker.host}:{broker.port}"
                self._start(name, self._connect, broker)
        if self._records.seeks:
            self._look()

    def _end_sessions(self) -> None:
        """Hang up where the broker would do so with our next request."""
        for broker, link in list(self._links.items()):
            if broker.ready and broker.out is None and link.expired:
                self._hang_up(broker)
                broker.up = False

    def _send_to(self, broker: WireBroker, link: Link, batches: Batches) -> None:
        version = link.versions[PRODUCE]
        try:
            sent = link.send(lambda number, name: produce(number, name, version, batches, _ACKS_MS))
        except OSError as error:
            self._lose(broker, str(error))
            return
        if not sent:
            self._selector.modify(link.socket, EVENT_READ | EVENT_WRITE, broker)

    def _receive(self, broker: WireBroker, now: float) -> None:
        link = self._links.get(broker)
        if link is None:
            return
        try:
            if link.unsent and link.flush():
                self._selector.modify(link.socket, EVENT_READ, broker)
            answer = link.receive()
            if answer is not None:
                answers = parse_produce(answer, link.versions[PRODUCE])
                self._machine.answered(broker, answers, now)
        except OSError as error:
            self._lose(broker, str(error))

    def _lose(self, broker: WireBroker, why: str) -> None:
        self._say(broker, why)
        self._hang_up(broker)
        self._machine.lost(broker, monotonic())

    def _say(self, broker: WireBroker, why: str) -> None:
        level = logging.INFO if broker.out is None else logging.WARNING
        client_log.log(level, "%s: %s:%d: %s", self._client, *broker.address, why)

    def _hang_up(self, broker: WireBroker) -> None:
        link = self._links.pop(broker, None)
        if link is not None:
            self._selector.unregister(link.socket)
            link.close()

    def _look(self) -> None:
        if not (self._looking or self._closed):
            self._looking = True
            self._start("kafka leaders", self._look_up)

    def _start(self, name: str, work: Callable[..., None], *args: Any) -> None:
        try:
            guarded_thread(name, partial(work, *args), self._died).start()
        except RuntimeError as error:  # the process, or its container, may have no more of them
            self._end(KafkaError._FATAL, f"no thread for {name}: {error}")

    def _end(self, code: int, why: str) -> None:
        self._records.end(KafkaError(code, why, fatal=True))

    # --- threads ----------------------------------------------------------------------------------

    def _died(self, error: Exception) -> None:
        """Nobody would connect, or look, again."""
        with self._lock:
            self._end(KafkaError._FATAL, f"a thread of it died: {error!r}")

    def _step_aside(self, unfit: Unfit) -> None:
        self._unfit(str(unfit))
        with self._lock:
            self._end(KafkaError.UNSUPPORTED_VERSION, str(unfit))

    def _connect(self, broker: WireBroker) -> None:
        try:
            link = Link(broker.host, broker.port, self._security, self._client)
        except Unfit as unfit:
            self._step_aside(unfit)
            return
        except NO_ANSWER as error:
            with self._lock:
                self._say(broker, str(error))
                self._machine.unreachable(broker, refusal(error), monotonic())
                self._go_on(monotonic())
            return
        link.unblock()
        with self._lock:
            if self._closed:
                link.close()
                return
            self._links[broker] = link
            self._machine.connected(broker)
            self._selector.register(link.socket, EVENT_READ, broker)
            self._go_on(monotonic())

    def _look_up(self) -> None:
        """Ask brokers until we know who we are and who leads what is to be sent."""
        while True:
            with self._lock:
                search = None if self._closed else self._machine.search(monotonic())
                if search is None:
                    self._looking = False
                    return
            sleep(search.wait_s)
            try:
                learnt = ask(self._addresses(), self._security, self._client, search)
            except Unfit as unfit:
                self._step_aside(unfit)
            except NO_ANSWER as error:
                client_log.warning("%s: no broker serves us yet: %s", self._client, error)
                with self._lock:
                    self._machine.unanswered(refusal(error))
            else:
                with self._lock:
                    for broker in self._machine.learnt(*learnt, monotonic()):
                        self._say(broker, "it has this address now")
                        self._hang_up(broker)
                    self._go_on(monotonic())

    def _addresses(self) -> Sequence[Address]:
        """Return those of the brokers that we know; those that were lost last come last."""
        with self._lock:
            known = sorted(self._machine.brokers.values(), key=lambda broker: broker.lost_at)
        return list(dict.fromkeys((*(broker.address for broker in known), *self._bootstrap)))
