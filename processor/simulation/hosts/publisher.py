"""What a simulated process publishes, in transactions, as ``kafka.publishing`` does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from processor.shard.ports import OutputRecord
from processor.simulation.broker import Broker
from processor.simulation.faults import Faults
from processor.simulation.partitions import Batch
from processor.simulation.scheduler import Channel, Scheduler

__all__ = ("Publisher", "ShardOutputs")

_RETRY_MS: Final = 100
_BATCH_TURNS: Final = 3
_HEARD: Final = 0.5
"""How probably a process has heard of the last generation when it begins anew."""


class ShardOutputs:
    """What a shard has to publish. ``generation``: the group's, in which it was last ours."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.generation: int | None = None
        self.pending: deque[tuple[int, Sequence[OutputRecord]]] = deque()
        self._position = 0

    def offer(self, offset: int, records: Sequence[OutputRecord]) -> None:
        """Publish a turn's records, unless the committed position is beyond it already."""
        if offset >= self._position:
            self.pending.append((offset, records))

    def resume(self, position: int) -> None:
        """Go on at a committed position."""
        self._position = position
        while self.pending and self.pending[0][0] < position:
            self.pending.popleft()


_Batches = dict[ShardOutputs, Batch]


class Publisher:
    """The one transactional producer of a process, in one of its lives.

    ``generation`` says in which one of the group's a shard is this process's (None: in none), and
    ``when_running`` calls back now, or once the process goes on.

    After any error, and after an outcome that it did not learn, it begins anew: an epoch of the
    producer that fences the one before, and the committed positions, below which everything
    pending is dropped.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        scheduler: Scheduler,
        faults: Faults,
        generation: Callable[[int], int | None] = lambda partition: 0,
        when_running: Callable[[Callable[[], None]], None] = lambda run: run(),
    ) -> None:
        self._name = name
        self._broker = broker
        self._transactions = broker.transactions
        self._scheduler = scheduler
        self._faults = faults
        self._generation = generation
        self._when_running = when_running
        self._channel = Channel(scheduler, f"{name} transactions", faults)
        self._shards: list[ShardOutputs] = []
        self._waiting: list[Callable[[], None]] = []
        self._epoch = -1
        self._busy = False
        self._dead = False
        self._outdated = False

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way, maybe of a shard that is about to be taken again."""
        return self._busy

    def once_free(self, wake: Callable[[], None]) -> None:
        self._waiting.append(wake)

    def take_over(self, shard: ShardOutputs) -> int:
        """Shut the owner before out; return the position below which all is published."""
        outputs = self._broker.outputs[shard.partition]
        if outputs.publisher not in ("", self._name):
            self._transactions.begin(outputs.publisher)
        if self._epoch < 0:
            self._epoch = self._transactions.begin(self._name)
        self._shards.append(shard)
        self._confirm(shard)
        return outputs.position

    def remove(self, shard: ShardOutputs) -> None:
        if shard in self._shards:
            self._shards.remove(shard)

    def reassigned(self) -> None:
        """The group gives this process a shard, in a later generation than it may know."""
        if self._busy:
            self._outdated = True
        elif self._shards:
            self._begin_anew()

    def kill(self) -> None:
        """The process ends; what it has open stays so until somebody ends it."""
        self._dead = True
        self._channel.cut()

    def serve(self) -> None:
        """Begin a transaction, if none is under way and there is something to publish."""
        if self._busy or self._dead:
            return
        ready = [each for each in self._shards if each.pending and each.generation is not None]
        if ready:
            self._busy = True
            epoch, batches = self._epoch, {shard: self._batch(shard) for shard in ready}
            self._channel.send(lambda: self._send(epoch, batches))

    def _batch(self, shard: ShardOutputs) -> Batch:
        count = self._scheduler.random.randint(1, min(_BATCH_TURNS, len(shard.pending)))
        turns = [shard.pending[index] for index in range(count)]
        assert shard.generation is not None, "it is ours as far as is known"
        return Batch(shard.partition, shard.generation, turns)

    # --- at the broker ----------------------------------------------------------------------------

    def _send(self, epoch: int, batches: _Batches) -> None:
        """Records and positions arrive; the coordinator asks the group about their sender."""
        sent = list(batches.values())
        is_member = all(self._generation(each.partition) == each.generation for each in sent)
        if self._transactions.send(self._name, epoch, sent, is_member=is_member):
            self._soon("sent", lambda: self._end_transaction(epoch, batches))
        else:
            self._scheduler.trace(f"{self._name} is refused")
            self._retry()

    def _commit(self, epoch: int, batches: _Batches) -> None:
        scheduler = self._scheduler
        unknown = scheduler.strikes(self._faults, "commit_unknown")
        lost = unknown and scheduler.random.random() < 0.5
        committed = not lost and self._transactions.commit(self._name, epoch)
        for batch in batches.values():
            turn = f"{batch.partition}/{batch.turns[-1][0]}"
            scheduler.trace(f"{self._name} {turn} {'committed' if committed else 'not'}")
        if unknown or not committed:
            self._retry()
        else:
            self._soon("committed", lambda: self._committed(batches))

    # --- in the process, once it runs -------------------------------------------------------------

    def _end_transaction(self, epoch: int, batches: _Batches) -> None:
        self._channel.send(lambda: self._commit(epoch, batches))

    def _committed(self, batches: _Batches) -> None:
        for shard, batch in batches.items():
            shard.resume(batch.position)
        self._go_on()

    def _begin_anew(self) -> None:
        self._outdated = False
        self._epoch = self._transactions.begin(self._name)
        for shard in self._shards:
            self._confirm(shard)
        self._go_on()

    def _confirm(self, shard: ShardOutputs) -> None:
        """Learn whose the shard is, and its position once nobody has anything open on it."""
        outputs = self._broker.outputs[shard.partition]
        if shard.generation is None or self._scheduler.random.random() < _HEARD:
            shard.generation = self._generation(shard.partition)
        if shard.generation is not None:
            self._transactions.settle(shard.partition)
            if shard.generation == self._generation(shard.partition):
                outputs.publisher = self._name
        shard.resume(outputs.position)

    def _go_on(self) -> None:
        self._busy = False
        if self._outdated:
            self._begin_anew()
            return
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake()
        self.serve()

    def _retry(self) -> None:
        delay_ms = self._scheduler.random.choice((0, _RETRY_MS))
        self._after(delay_ms, "begins anew", self._begin_anew)

    def _soon(self, what: str, run: Callable[[], None]) -> None:
        self._after(0, what, run)

    def _after(self, delay_ms: int, what: str, run: Callable[[], None]) -> None:
        def once_running() -> None:
            if not self._dead:
                run()

        name = f"{self._name} {what}"
        self._scheduler.after(delay_ms, name, lambda: self._when_running(once_running))
