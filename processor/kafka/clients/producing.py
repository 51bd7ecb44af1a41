"""One producer that many share, and who serves its acknowledgements: a thread, or a busy loop.

Producing never blocks and never drops: what the client has no room for waits in order, and
what Kafka refuses for now is sent again later, until its sender gives it up.

A busy event loop serves acknowledgements itself (see ``serving``) and hands over what it produced
in one go: ``poll``, ``collect``, ``flush``, ``watch``.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from processor.kafka.clients.backoff import Pace
from processor.kafka.clients.producers import open_producer
from processor.kafka.clients.record_producer import Delivered, Outgoing
from processor.kafka.clients.serving import Serving

__all__ = ("Lasting", "Producing")

_log = logging.getLogger("processor.kafka")

_POLL_S = 0.1
_CLOSE_S = 2.0
_BROKEN_S = 0.01
_AFTER_A_BUG_S = 0.1
_RENEW_FIRST_S = 1.0
_RENEW_MAX_S = 5.0


class Producing:
    """Its records keep their order within each partition. The configuration: see ``open_producer``.

    ``stop_at_error`` is for the log: after the first record that could not be written, nothing
    that was handed over later is (``broken``), so that the log has no hole.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        extra: Mapping[str, Any],
        name: str,
        *,
        stop_at_error: bool = False,
    ) -> None:
        self._name = name
        self._stop_at_error = stop_at_error
        self._waiting: deque[Outgoing] = deque()
        self._sending = Lock()
        self._collects = False
        self._serving = Serving()
        self._later: deque[tuple[float, Outgoing]] = deque()
        self._wakes: tuple[Callable[[], None], ...] = ()
        self._wakes_lock = Lock()
        self._closed = False
        self._retired = False
        self.broken: KafkaError | None = None
        self._thread = Thread(target=self._run, name=f"kafka {name}", daemon=True)
        self._producer = open_producer(config, extra)
        self._thread.start()

    def produce(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        delivered: Delivered,
    ) -> None:
        """Hand a record over; ``delivered`` is called once, whatever becomes of it."""
        outgoing = Outgoing(topic, partition, key, value, delivered)
        if self._collects or self._waiting or not self._handed_over(outgoing):
            self._waiting.append(outgoing)
        elif self._producer.send():
            self._serving.watch()

    # --- for a busy loop --------------------------------------------------------------------------

    def poll(self, timeout_s: float = 0.0) -> int:
        """Serve what is acknowledged within this time; return how much that was."""
        if not self._serving.begin():
            return 0
        try:
            return self._serve(timeout_s)
        finally:
            self._serving.end()

    def wait(self, timeout_s: float) -> int:
        """As ``poll``, where an acknowledgement is due."""
        return self.poll(timeout_s) if len(self._producer) else 0

    def collect(self) -> None:
        """Hold back what is produced until ``flush``, so that it leaves in few requests."""
        self._collects = True

    def flush(self) -> None:
        """Hand over what was collected."""
        self._collects = False
        if self._waiting:
            self._send_waiting()

    def watch(self) -> None:
        """Let the thread serve until the next ``poll``; it wakes whoever wants to know."""
        if self._waiting or len(self._producer):
            self._serving.watch()

    # --- from any thread --------------------------------------------------------------------------

    def produce_later(self, outgoing: Outgoing, delay_s: float) -> None:
        """Hand a record over after a while. From any thread."""
        self._later.append((monotonic() + delay_s, outgoing))

    def wake_on_delivery(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once after each round of acknowledgements."""
        with self._wakes_lock:
            if wake not in self._wakes:
                self._wakes = (*self._wakes, wake)

    def fail(self, error: KafkaError) -> None:
        """Note that a record was lost to ``error``; from a ``delivered`` callback."""
        self._refused(error)

    def retire(self) -> None:
        """Let the thread end once every record was called back: this producer was replaced."""
        self._retired = True
        self._leave_to_thread()

    def close(self, flush_s: float = _CLOSE_S) -> None:
        """Wait a little for what is on its way, then stop."""
        self._leave_to_thread()
        deadline = monotonic() + flush_s
        while len(self._producer) and self.broken is None and monotonic() < deadline:
            self._thread.join(0.01)
        self._closed = True
        self._thread.join(_POLL_S * 10)
        self._producer.close()

    def _refused(self, error: KafkaError) -> None:
        """Stop for ever where going on would leave a hole, or where the client cannot go on."""
        if self.broken is None and (self._stop_at_error or error.fatal()):
            self.broken = error
            _log.error(
                "the Kafka producer for %s stops: %s. What it could not send is told to whoever "
                "sent it, and the next record has a new producer",
                self._name,
                error.str(),
            )
            self._producer.purge(in_flight=False)

    def _leave_to_thread(self) -> None:
        self._collects = False
        self._serving.leave_to_thread()

    def _serve(self, timeout_s: float) -> int:
        """Wait for acknowledgements and pass them on; return how many there were."""
        try:
            return self._producer.poll(timeout_s)
        except KafkaException as error:  # a fatal error is raised here, and by produce
            self._refused(error.args[0])
        except Exception as error:  # of who was called back; the others must hear of theirs
            self._broke(error)
        sleep(min(timeout_s, _BROKEN_S))
        return 1

    def _run(self) -> None:
        while not self._closed:
            try:
                if not self._serve_round():
                    return
            except Exception as error:  # nobody else would tell what becomes of the records
                self._broke(error)
                sleep(_AFTER_A_BUG_S)

    def _serve_round(self) -> bool:
        """Serve what comes next; return whether there may be more."""
        with self._serving:
            served = self._serve(_POLL_S)
        if not self._collects:
            served += self._send_waiting()
        if self._later:
            served += self._send_due()
        if served:
            self._serving.arrived()
            for wake in self._wakes:
                wake()
        elif self._retired and not (len(self._producer) or self._later or self._waiting):
            self._producer.close()
            return False
        self._serving.park()
        return True

    def _broke(self, error: Exception) -> None:
        _log.exception("a bug in the Kafka producer for %s", self._name)
        self._refused(KafkaError(KafkaError._FATAL, f"a bug: {error!r}", fatal=True))

    def _send_waiting(self) -> int:
        """Hand over what waits, as far as there is room; return how much that was."""
        done = 0
        waiting = self._waiting
        with self._sending:
            while waiting:
                if not self._handed_over(waiting[0]):
                    break
                waiting.popleft()
                done += 1
        if done:
            self._producer.send()
        return done

    def _handed_over(self, outgoing: Outgoing) -> bool:
        """Hand a record over, or tell its sender why not; False where there is no room."""
        try:
            if self.broken is not None:
                raise KafkaException(self.broken)
            self._producer.produce(outgoing)
        except BufferError:
            return False
        except KafkaException as error:
            self._refused(error.args[0])
            outgoing.delivered(error.args[0], None)
        return True

    def _send_due(self) -> int:
        """Produce again what was put off until now."""
        done, now = 0, monotonic()
        for _ in range(len(self._later)):
            due, outgoing = self._later.popleft()
            if due > now:
                self._later.append((due, outgoing))
            else:
                self.produce(*outgoing)
                done += 1
        return done


class Lasting:
    """A producer that is made when it is needed, and anew once the last one had to stop.

    The second time in short order it is made only after a while, and meanwhile the one that stopped
    tells why: a password that was changed is not tried as fast as there are records.
    """

    def __init__(self, make: Callable[[], Producing], lock: Lock | None = None) -> None:
        """``lock`` is held by whoever calls ``make``."""
        self._make = make
        self._lock = lock or Lock()
        self._pace = Pace(_RENEW_FIRST_S, _RENEW_MAX_S, calm_s=60.0)
        self.made: Producing | None = None

    def get(self) -> Producing:
        made = self.made
        if made is None or (made.broken is not None and self._pace.due(monotonic())):
            with self._lock:
                old = made = self.made
                if made is None or made.broken is not None:
                    made = self.made = self._make()
                    if old is not None:
                        self._pace.wait_s(monotonic())
                        old.retire()
        return made
