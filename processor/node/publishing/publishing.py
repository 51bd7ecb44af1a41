"""Results and ``workflow.publish``, exactly once: one transactional producer for a whole process.

A transaction writes what its shards have to publish together with their positions in ``events``, as
consumer offsets of the group that says whose the shards are. So a coordinator refuses the positions
of whoever is not a member of the present generation (KIP-447), and with them the records. The order
of everything below, when a shard is taken over:

    1. ask the membership which generation this is; what follows counts in no other
    2. the producer of the owner before (the committed position names it) is fenced: what it left
       open is aborted, and readers do not wait for its time-out
    3. ours is connected, so that an earlier transaction of this process has ended, one way or the
       other
    4. read the committed position; drop what lies below it
    5. commit the position with our name

and for each transaction:

    1. ask the membership which generation this is, and then which shards are still ours in it
    2. begin, produce, send the positions, commit

After any error the producer is thrown away: the outcome of its transaction may be unknown. The next
one with its name aborts or completes what it left, and all positions are read again.

This is a machine without threads, clocks or clients. Each method that returns ``Steps`` yields what
is to be done, and is sent what came of it; several of them may be under way at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from processor.core.records.effects import Publish
from processor.node.publishing.faults import Fault, PublishingFailed
from processor.node.publishing.outputs import Batch, Delays, ShardOutputs
from processor.node.publishing.steps import (
    Committed,
    Connect,
    Exclusively,
    Fence,
    GiveUp,
    LastCommitted,
    Pause,
    Probe,
    Standing,
    Steps,
    Transact,
)
from processor.node.publishing.undeliverable import Outlets

__all__ = ("Publishing",)

_log = logging.getLogger("processor.kafka")

_RECORDS_MAX: Final = 2_000
_BYTES_MAX: Final = 8_000_000
"""A transaction with so much takes no more in."""

_PROBES_MAX: Final = 20
"""Topics that are tried after one failure; the others have their turn after the next one."""

_NOT_OURS: Final = Fault("not ours", "_ASSIGNMENT_LOST", "the shard is not ours")
_FENCE_AGAIN_S: Final = 1.0
_IDLE_S: Final = 60.0
_SAY_EVERY_S: Final = 30.0


class Publishing:
    """``name`` is this process's; ``standing`` is the membership's, as it is known here.

    ``now`` is monotonic, in seconds. ``delays`` makes what says how long to wait after failures.
    """

    def __init__(
        self,
        name: str,
        outlets: Outlets,
        standing: Callable[[], Standing],
        now: Callable[[], float],
        delays: Callable[[], Delays],
        records_max: int = _RECORDS_MAX,
    ) -> None:
        self.closed = False
        self._name = name
        self._outlets = outlets
        self._standing = standing
        self._now = now
        self._delays = delays
        self._records_max = records_max
        self._shards: dict[ShardOutputs, None] = {}
        self._is_connected = False
        self._fenced_at: dict[str, float] = {}
        self._retry_at = 0.0
        self._probed_to = 0
        self._backoff = delays()

    @property
    def backlog(self) -> int:
        """How many turns wait to be published."""
        return sum(shard.backlog for shard in tuple(self._shards))

    def shard(self, partition: int, ids: str, log_is_new: Callable[[], bool]) -> ShardOutputs:
        """Return what a shard publishes through; ``take_over`` comes first."""
        return ShardOutputs(partition, ids, self._outlets, self._now, self._delays(), log_is_new)

    def remove(self, shard: ShardOutputs) -> None:
        shard.close()
        self._shards.pop(shard, None)

    # --- taking a shard over ----------------------------------------------------------------------

    def take_over(self, shard: ShardOutputs) -> Steps:
        """Shut the owner before us out and return the position below which all is published.

        Raises ``LogTruncated`` where it was committed for other topics than the shard's, and
        ``PublishingFailed`` where the shard is not ours.
        """
        begun = said = self._now()
        delays = self._delays()
        while True:
            try:
                position = yield from self._take_over(shard)
                break
            except PublishingFailed as error:
                fault = error.fault
                if shard.closed or fault.kind == "not ours":
                    raise  # whoever waits for this would wait for ever
                _log.info("shard %d: reading its position: %s", shard.partition, fault.text)
                if self._now() - said >= _SAY_EVERY_S:
                    said = self._now()
                    self._say_stuck(shard, fault, said - begun)
                yield Pause(delays.next_s())
        shard.begin(position, self._now())
        if not shard.closed:
            self._shards[shard] = None
        return position

    def _take_over(self, shard: ShardOutputs) -> Steps:
        standing = self._standing()
        assignment = standing.owned.get(shard.partition)
        if assignment is None:
            raise PublishingFailed(_NOT_OURS)
        former: str = yield LastCommitted(shard.partition)
        if former not in ("", self._name):
            yield Exclusively("fencing", self._fence(former))
        yield from self._settled()
        [committed] = yield Committed([shard])
        position: int = shard.first_position() if committed is None else committed
        if former != self._name:
            batch = Batch(shard, [], position)
            yield Exclusively("transaction", self._named(batch, standing))
        shard.assignment = assignment
        return position

    def _named(self, batch: Batch, standing: Standing) -> Steps:
        """Write our name to the position. Not for a shard that was given up while this waited.

        It may be ours again by now, and have published more.
        """
        if batch.shard.closed:
            raise PublishingFailed(_NOT_OURS)
        yield from self._transact([batch], standing)

    def _fence(self, former: str) -> Steps:
        oldest = self._now() - _FENCE_AGAIN_S
        self._fenced_at = {name: at for name, at in self._fenced_at.items() if at > oldest}
        if former not in self._fenced_at:
            yield Fence(former)
            self._fenced_at[former] = self._now()

    def _settled(self) -> Steps:
        """Wait until what this process has under way has ended, one way or the other."""
        yield Exclusively("transaction", self._connected())

    def _say_stuck(self, shard: ShardOutputs, fault: Fault, waited_s: float) -> None:
        """Name what keeps a position from being read for ever.

        Seen with Kafka 4.3: the only broker dies by kill -9 while it ends a transaction, and after
        its restart the transaction counts as complete, but has no marker in its partitions.
        """
        _log.error(
            "shard %d: its position in group %s could not be taken over for %.0f s (%s: %s), so "
            "the shard waits. If the brokers are well, a transaction may hang in them: "
            "`kafka-transactions.sh --bootstrap-server %s find-hanging --broker-id N` lists it, "
            "and its `abort` ends it (consumers may then see the results of that one transaction "
            "twice). Workflows of other shards go on%s",
            shard.partition,
            self._outlets.group,
            waited_s,
            fault.name,
            fault.text,
            self._outlets.servers,
            self._outlets.hint(fault),
        )

    # --- publishing -------------------------------------------------------------------------------

    def round(self) -> Steps:
        """Publish what is pending, what is too much waits; return when to be called again."""
        now = self._now()
        standing = self._standing()
        owned = standing.owned
        shards = [
            shard for shard in tuple(self._shards) if owned.get(shard.partition) == shard.assignment
        ]
        if now >= self._retry_at and not self.closed:
            shards.sort(key=lambda shard: shard.committed_at)
            yield from self._publish(shards, standing, now)
        return min([now + _IDLE_S, *(max(shard.due_at, self._retry_at) for shard in shards)])

    def _publish(self, shards: Sequence[ShardOutputs], standing: Standing, now: float) -> Steps:
        batches: list[Batch] = []
        try:
            yield Exclusively("transaction", self._try(shards, standing, now, batches))
        except PublishingFailed as error:
            yield from self._put_off(error, batches, now)
        else:
            self._backoff.reset()

    def _try(
        self, shards: Sequence[ShardOutputs], standing: Standing, now: float, batches: list[Batch]
    ) -> Steps:
        yield from self._connected()
        records = size = 0
        for shard in shards:
            batch = yield from shard.batch(now, self._records_max, _BYTES_MAX)
            if batch is not None:
                batches.append(batch)
                records, size = records + batch.records, size + batch.size
                if records >= self._records_max or size >= _BYTES_MAX:
                    break
        if batches:
            yield from self._transact(batches, standing)

    # --- one transaction, exclusively -------------------------------------------------------------

    def _transact(self, batches: Sequence[Batch], standing: Standing) -> Steps:
        """The steps of a transaction. ``standing`` is older than the batches."""
        yield from self._connected()
        try:
            yield Transact(batches, standing.group)
        except PublishingFailed as error:
            yield from self._give_up(error.fault)
            raise
        for batch in batches:
            batch.shard.committed(batch, self._now())

    def _connected(self) -> Steps:
        """Have a producer; with a new one, all positions are read again."""
        if self._is_connected:
            return
        shards = tuple(self._shards)
        yield Connect()
        positions = (yield Committed(shards)) if shards else ()
        for shard, position in zip(shards, positions, strict=True):
            if position is not None:
                shard.resume(position, self._now())
        self._is_connected = True

    def _give_up(self, fault: Fault) -> Steps:
        self._is_connected = False
        yield GiveUp(fault)

    # --- what can go wrong ------------------------------------------------------------------------

    def _put_off(self, error: PublishingFailed, batches: Sequence[Batch], now: float) -> Steps:
        """Try again later, or at once without what was refused."""
        fault, shards = error.fault, [batch.shard for batch in batches]
        refused = [shard for shard in shards if shard.put_off(error, now)]
        if self.closed or refused:
            return
        for shard in shards:
            shard.forget_topics()
        expected = fault.kind in ("fenced", "no member")
        if not expected and (yield from self._found(batches)):
            return
        self._retry_at = now + self._backoff.next_s()
        _log.log(
            logging.INFO if expected else logging.WARNING,
            "publishing failed%s (%s: %s); it is tried again from the committed positions%s",
            f" for {count} shards" if (count := len(shards) or len(self._shards)) else "",
            fault.name,
            fault.text,
            self._outlets.hint(fault),
        )

    def _found(self, batches: Sequence[Batch]) -> Steps:
        """Try the topics of a transaction that failed for none in particular, one by one.

        Those that take nothing are closed for all their shards. Returns whether there was one.
        """
        samples: dict[str, Publish] = {}
        for batch in batches:
            for record in batch.shard.probes(batch):
                samples.setdefault(record.topic, record)
        first = self._probed_to % max(len(samples), 1)
        tried = [*samples.values()][first:][:_PROBES_MAX]
        self._probed_to = first + len(tried)
        found = False
        for record in tried:
            try:
                fault: Fault | None = yield Exclusively("transaction", self._probe(record))
            except PublishingFailed:  # no broker serves us: the topics are not to blame
                return found
            if fault is not None:
                for shard in {batch.shard for batch in batches}:
                    found |= shard.suspect(record.topic, fault, self._now())
        return found

    def _probe(self, record: Publish) -> Steps:
        yield from self._connected()
        fault: Fault | None = yield Probe(record)
        if fault is not None:
            yield from self._give_up(fault)
        return fault
