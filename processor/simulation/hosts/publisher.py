"""The publisher of a simulated process: ``Publishing``, on the scheduler and a simulated broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from processor.core.records.effects import Publish, RunResult
from processor.node.publishing.faults import Fault, Kind, PublishingFailed, Refusal, TopicFault
from processor.node.publishing.outputs import Batch, ShardOutputs
from processor.node.publishing.publishing import Publishing
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
    Step,
    Steps,
    Transact,
)
from processor.node.publishing.telling import told_beside
from processor.node.publishing.undeliverable import Outlets
from processor.shard.messages.border import COMMANDS, Abroad
from processor.shard.ports import OutputRecord
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import Faults
from processor.simulation.mirror import ELSEWHERE, OWN_COMMANDS
from processor.simulation.partitions import Portion
from processor.simulation.scheduler import Channel, Scheduler

__all__ = ("Publisher",)

_RECORDS_MAX: Final = 3
"""So few, so that much is published in several transactions."""

_CHANCES: Final = 8
"""Of a message to another namespace to be refused: there are few of them."""

_LETTER_BYTES: Final = 2_000_000
_OTHERS_COMMANDS: Final = f"{ELSEWHERE}.{COMMANDS}"
_OUTLETS: Final = Outlets(
    *("results", "dead-letters", "events", "shards", "the simulation"),
    _LETTER_BYTES,
    lambda topic: False,
    len,
)
_OF_RESULTS: Final[Sequence[Kind]] = ("too large", "invalid", "invalid record", "other")
_OF_RECORDS: Final[Sequence[Kind]] = (*_OF_RESULTS, "forbidden")
_OF_CALLS: Final[Sequence[Kind]] = ("invalid", "invalid record")
"""What is refused of messages to another namespace: single ones, of those that somebody waits for.
An answer that gets lost, or the end of a parent, would be waited for by the model for ever.
"""

Done = Callable[[Any, Exception | None], None]


class Publisher:
    """``standing`` is what the process has heard of its group, whose word is in which of its
    generations each shard was ours; ``generation`` is what the group itself says of a shard.

    ``when_running`` calls back now, or once the process goes on. ``refused`` is called when the
    group refused this process: it is about to hear of that.
    """

    def __init__(
        self,
        name: str,
        broker: SimulatedBroker,
        scheduler: Scheduler,
        faults: Faults,
        standing: Callable[[], Standing] | None = None,
        generation: Callable[[int], int | None] = lambda partition: 0,
        when_running: Callable[[Callable[[], None]], None] = lambda run: run(),
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        everything = dict.fromkeys(range(broker.partitions), 0)
        self._name = name
        self._broker = broker
        self._scheduler = scheduler
        self._faults = faults
        self._generation = generation
        self._when_running = when_running
        self._refused = refused
        late = "late_transaction" if faults.late_transaction else "late"
        self._channel = Channel(scheduler, f"{name} transactions", faults, late)
        self._publishing = Publishing(
            name,
            _OUTLETS,
            standing or (lambda: Standing(everything, everything)),
            lambda: scheduler.now_ms / 1000,
            lambda: _Delays(scheduler),
            _RECORDS_MAX,
        )
        self._exclusive: dict[str, deque[_Flow]] = {}
        self._epoch = -1
        self._in_round = False
        self._dead = False

    def shard(self, partition: int) -> ShardOutputs:
        return self._publishing.shard(partition, "", lambda: True)

    def take_over(self, shard: ShardOutputs, done: Done) -> None:
        """Shut the owner before out; tell the position below which all is published."""
        _Flow(self, self._publishing.take_over(shard), done).go_on()

    def remove(self, shard: ShardOutputs) -> None:
        self._publishing.remove(shard)

    def kill(self) -> None:
        """The process ends; what it has open stays so until somebody ends it."""
        self._dead = True
        self._channel.cut()

    def serve(self) -> None:
        """Publish soon, if nothing is being published and there is something to publish."""
        if not self._in_round and not self._dead and self._publishing.backlog:
            self._in_round = True
            self.after(0, "publishes", self._round)

    def _round(self) -> None:
        _Flow(self, self._publishing.round(), self._over).go_on()

    def _over(self, next_at: Any, error: Exception | None) -> None:
        if error is not None:
            raise error
        self._in_round = False
        if self._publishing.backlog:
            now_ms = self._scheduler.now_ms
            is_due = next_at <= now_ms / 1000
            delay_ms = 0 if is_due else int(next_at * 1000) + 1 - now_ms
            self.after(delay_ms, "looks again", self.serve)

    # --- steps ------------------------------------------------------------------------------------

    def do(self, step: Step, flow: _Flow) -> None:
        match step:
            case Exclusively():
                self._enter(step, flow)
            case Pause():
                self.after(int(step.seconds * 1000), "waits", flow.go_on)
            case Transact():
                self._transact(step, flow)
            case _:
                name = type(step).__name__
                self.after(0, name, lambda: flow.answer(lambda: self._answer(step)))

    def _enter(self, step: Exclusively, flow: _Flow) -> None:
        flow.enter(step)
        waiting = self._exclusive.setdefault(step.what, deque())
        waiting.append(flow)
        if waiting[0] is flow:
            flow.go_on()

    def leave(self, what: str) -> None:
        """End what was exclusive; the next one that waits begins."""
        waiting = self._exclusive[what]
        waiting.popleft()
        if waiting:
            self.after(0, f"begins its {what}", waiting[0].go_on)

    def _answer(self, step: Step) -> Any:
        transactions, random = self._broker.transactions, self._scheduler.random
        match step:
            case LastCommitted():
                return self._broker.outputs[step.partition].publisher
            case Fence():
                transactions.begin(step.name)
            case Connect():
                self._epoch = transactions.begin(self._name)
            case Committed():
                return [self._position(shard.partition) for shard in step.shards]
            case GiveUp():
                if step.fault.aborts or random.random() < 0.5:
                    transactions.abort(self._name, self._epoch)
            case TopicFault() | Probe():
                topic = step.topic if isinstance(step, TopicFault) else step.record.topic
                if topic != _OTHERS_COMMANDS and self._scheduler.strikes(
                    self._faults, "topic_missing"
                ):
                    return Fault("missing", "UNKNOWN_TOPIC_OR_PART", "it is not there yet")
            case _:
                raise AssertionError(f"{step} is answered elsewhere")
        return None

    def _position(self, partition: int) -> int:
        """Return the position of a shard, once nobody has anything open on it."""
        if self._broker.transactions.is_open(partition):
            if self._scheduler.random.random() < 0.5:
                raise PublishingFailed(Fault("timed out", "_TIMED_OUT", "a transaction is open"))
            self._broker.transactions.settle(partition)
        return self._broker.outputs[partition].position

    # --- one transaction --------------------------------------------------------------------------

    def _transact(self, step: Transact, flow: _Flow) -> None:
        refusals = {each.shard.partition: self._refusals(each) for each in step.batches}
        refused = [each for of_shard in refusals.values() for each in of_shard]
        if refused:
            failure = PublishingFailed(refused[0].fault, refusals)
            self.after(0, "a record is refused", lambda: flow.go_on(None, failure))
            return
        group = step.group
        assert isinstance(group, Mapping), "the generations of the shards"
        epoch = self._epoch
        sent = [
            Portion(it.shard.partition, it.turns, it.position, _messages(it)) for it in step.batches
        ]
        self._channel.send(lambda: self._send(epoch, sent, group, flow))

    def _refusals(self, batch: Batch) -> list[Refusal]:
        scheduler = self._scheduler
        refused = []
        for output in batch.shard.outputs(batch):
            if output.letter is not None or not (kinds := _kinds(output.record)):
                continue
            chances = _CHANCES if isinstance(output.record, Abroad) else 1
            if any(scheduler.strikes(self._faults, "output_refused") for _ in range(chances)):
                kind = scheduler.random.choice(kinds)
                fault = Fault(kind, kind, "the seed says so", aborts=True)
                refused.append(Refusal(output.place, output.record, fault))
        return refused

    def _send(
        self, epoch: int, sent: Sequence[Portion], group: Mapping[int, int], flow: _Flow
    ) -> None:
        """Records and positions arrive; the coordinator asks the group about their sender."""
        generations = {each.partition: self._generation(each.partition) for each in sent}
        is_member = all(group.get(p) == generation for p, generation in generations.items())
        if self._broker.transactions.send(self._name, epoch, sent, is_member=is_member):
            self.after(0, "sent", lambda: self._channel.send(commit))
        else:
            self._scheduler.trace(f"{self._name} is refused")
            self._fails(flow, "fenced" if is_member else "no member")
            if not is_member:
                self._refused()

        def commit() -> None:
            self._commit(epoch, sent, flow)

    def _commit(self, epoch: int, sent: Sequence[Portion], flow: _Flow) -> None:
        scheduler = self._scheduler
        unknown = scheduler.strikes(self._faults, "commit_unknown")
        lost = unknown and scheduler.random.random() < 0.5
        committed = not lost and self._broker.transactions.commit(self._name, epoch)
        for each in sent:
            place = f"{each.partition}/{each.position}"
            scheduler.trace(f"{self._name} {place} {'committed' if committed else 'not'}")
        if unknown or not committed:
            self._fails(flow, "timed out" if unknown else "fenced")
        else:
            self.after(0, "committed", flow.go_on)

    def _fails(self, flow: _Flow, kind: Kind) -> None:
        failure = PublishingFailed(Fault(kind, kind, "the simulation says so"))
        self.after(0, "a transaction fails", lambda: flow.go_on(None, failure))

    def after(self, delay_ms: int, what: str, run: Callable[[], None]) -> None:
        """Let something happen in the process, once it runs."""

        def once_running() -> None:
            if not self._dead:
                run()

        name = f"{self._name} {what}"
        self._scheduler.after(delay_ms, name, lambda: self._when_running(once_running))


def _kinds(record: OutputRecord) -> Sequence[Kind]:
    """Return how a record may be refused, if at all."""
    if isinstance(record, Abroad):
        return () if record.command.caller is None else _OF_CALLS
    return _OF_RESULTS if isinstance(record, RunResult) else _OF_RECORDS


def _messages(batch: Batch) -> Sequence[Publish]:
    """Return what of a batch is for inputs: messages, and what is told beside their letters."""
    found = []
    for output in batch.shard.outputs(batch):
        if output.letter is not None:
            found.append(told_beside(output.letter, OWN_COMMANDS))
        elif isinstance(output.record, Abroad):
            found.append(output.record)
    return [each for each in found if each is not None]


class _Flow:
    """Steps that are under way: those of a whole, and in them those that are exclusive."""

    def __init__(self, publisher: Publisher, steps: Steps, done: Done) -> None:
        self._publisher = publisher
        self._done = done
        self._under_way: list[tuple[Steps, str]] = [(steps, "")]

    def enter(self, step: Exclusively) -> None:
        self._under_way.append((step.steps, step.what))

    def answer(self, find: Callable[[], Any]) -> None:
        try:
            found = find()
        except PublishingFailed as failure:
            self.go_on(None, failure)
        else:
            self.go_on(found)

    def go_on(self, value: Any = None, error: Exception | None = None) -> None:
        """Tell what came of the last step, up to the next one."""
        while self._under_way:
            steps, what = self._under_way[-1]
            try:
                step = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as end:
                value, error = end.value, None
            except PublishingFailed as failure:
                value, error = None, failure
            else:
                self._publisher.do(step, self)
                return
            self._under_way.pop()
            if what:
                self._publisher.leave(what)
        self._done(value, error)


class _Delays:
    """Says how long to wait: up to a tenth of a second, and as long as five."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._delay_s = 0.1

    def next_s(self) -> float:
        delay_s, self._delay_s = self._delay_s, min(self._delay_s * 2, 5.0)
        return self._scheduler.random.choice((0.0, delay_s))

    def reset(self) -> None:
        self._delay_s = 0.1
