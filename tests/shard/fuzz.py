"""Mutated records on the input topics of one shard, with nothing filtered out.

Each input is made from a good one: a field takes an odd value of its type, or bytes are changed,
taken out and put in. It comes in as it does from Kafka, decoded or as a dead letter. What may never
happen: an error leaves the shard, an effect cannot be encoded, a good workflow beside the bad input
does not run, or anybody's question fails because of what was accepted before.

    python -m tests.shard.fuzz --inputs 1000000 --seed 7
"""

from __future__ import annotations

import argparse
import json
import logging
import re
from collections import Counter
from dataclasses import dataclass, fields, is_dataclass, replace
from random import Random
from typing import Any, cast

from processor.codec.payloads import JsonPayloads
from processor.codec.records import encode
from processor.config import Settings
from processor.core.data.address import Address, Caller, ReplyTo
from processor.core.data.cause import ClientRequest, NamedRequest, Origin
from processor.core.data.failure import Failure
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.nouns.start import StartRun
from processor.core.questions import DescribeRun, ListRuns, ReadHistory
from processor.core.records.answers import Page
from processor.core.records.effects import ActivityTask, DeadLetter, Message, Reply
from processor.core.records.turn import Source
from processor.errors import SchemaMismatch
from processor.injection.interceptors import Injected
from processor.kafka.shards.inbox import KafkaInbox
from processor.registry import Registry
from processor.shard.messages.carrying import message_command
from processor.store.keyvalue import Memory
from processor.workflow._engine.runners import WorkflowRunners

from .fuzz_commands import DEEP_FAILURE, IDS, OUTCOMES, body_of
from .fuzz_programs import ACTIVITIES, WORKFLOWS
from .running import Ports, shard

__all__ = ("INPUTS", "Fuzz", "played")

INPUTS = 2_000
"""So many come to one log."""

CLIENTS = ("one", "two")
DEEP = b"[" * 984 + b"]" * 984
ODD_BYTES = (b"", b"null", b"{", b"\xff\xfe", DEEP, b'"\\ud800"', b"[1e999]", b"1" * 5_000, b"NaN")
ODD_TEXT = ("", "a", "allow", "\0", "\x1b[31m", "x" * 3_000, "\U0001f600", "a/0/1", "é\u202e")
ODD_NUMBERS = (
    *(0, 1, -1, 2, 127, 128, 8_191, 8_192, (1 << 31) - 1, 1 << 31, -(1 << 31), 1 << 53),
    *((1 << 62) - 1, 1 << 62, (1 << 63) - 1, -(1 << 63)),
)
ON_PURPOSE = ("ValueError: nothing is given", "fuzz_programs.Refused: no")
"""The bugs that the workflows of the fuzz have of their own."""


class Failures(logging.Handler):
    """What the shard could do only by giving an input up, or by parking a run for good: our own
    checks should have seen it.

    Whatever it says with a traceback is that, and so is a bug in code that has none.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        told = logging.Formatter().format(record)
        if any(each in told for each in ON_PURPOSE):
            return
        if "Traceback (most recent call last)" in told or "is parked (bug)" in told:
            self.found.append(told)


class FuzzedPorts(Ports):
    """Encodes all that leaves, as the adapters do. ``messages`` are the newest between runs."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[ClientCommand] = []

    def send(self, effect: Any, token: int | None, origin: Any = None) -> None:
        super().send(effect, token, origin)
        if isinstance(effect, Message):
            effect = message_command(effect, origin)
            self.messages = [*self.messages[-20:], effect]
        encode(effect)

    def reply(self, reply: Reply) -> None:
        super().reply(reply)
        encode(reply)

    def publish(self, offset: int, records: Any) -> None:
        for record in records:
            if not hasattr(record, "topic"):
                encode(record)


@dataclass
class Arrived:
    """What a Kafka message is for the inbox."""

    bytes_of_key: bytes | None
    bytes_of_value: bytes | None

    def key(self) -> bytes | None:
        return self.bytes_of_key

    def value(self) -> bytes | None:
        return self.bytes_of_value


class Fuzz:
    """``play`` takes one input after the other. ``counts``: what became of them.

    ``failures`` has to be a handler of the shard's logger.
    """

    def __init__(self, seed: int, failures: Failures) -> None:
        self.failures = failures
        self.dice = Random(seed)
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.ports = FuzzedPorts()
        self.store = Memory()
        registry = Registry(WORKFLOWS, ACTIVITIES, Injected(JsonPayloads()))
        self.runners = WorkflowRunners(registry, Settings())
        self.shard = shard(self.ports, self.store, self.runners)
        self._inbox = KafkaInbox(0, 1, ["c", "r", "t"], cast(Any, None), cast(Any, None), id)
        self._offsets: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._tasks: list[ActivityTask] = []
        self._timers: list[TimerDue] = []

    # --- inputs -------------------------------------------------------------------------------

    def play(self, inputs: int) -> None:
        """Take so many bad inputs, with good ones between them."""
        for number in range(inputs):
            good = self._command()  # so that there is something that a bad one could spoil
            self.arrive("commands", good.workflow_id.encode(), encode(good))
            source, record = self._valid()
            key, value = self._mutated(record)
            self.arrive(source, key, value)
            self.run()
            if number % 50 == 49:
                self.check_good(number)
            if number % 500 == 499:
                self.check_questions()
            if number % 1_000 == 999:
                self.take_over()

    def arrive(self, source: Source, key: bytes | None, value: bytes | None) -> None:
        offset = self._offsets[source]
        self._offsets[source] += 1
        record = self._inbox._decoded(source, cast(Any, Arrived(key, value)), offset)
        letter = record.input if isinstance(record.input, DeadLetter) else None
        self.counts[f"dead letters of {source}" if letter else source] += 1
        if letter is not None:
            self.reasons[letter.reason[:40]] += 1
        self.ports.arrived.append(record)

    def run(self) -> None:
        """Let the shard and all around it do what they can do now."""
        ports = self.ports
        for _ in range(20):
            self.shard.step()
            for effect, token in ports.sent:
                if isinstance(effect, ActivityTask):
                    self._tasks = [*self._tasks[-20:], effect]
                elif isinstance(effect, TimerDue):
                    self._timers = [*self._timers[-20:], effect]
                if token is not None:
                    ports.tokens.append(token)
            ports.sent.clear()
            for task, report in ports.started:
                self._tasks = [*self._tasks[-20:], task]
                report(self._completed(task))
            ports.started.clear()
            assert not self.failures.found, self.failures.found[0]
            if not ports.waiting and not self.shard.has_work(ports.now):
                return
            ports.now += 1

    def _completed(self, task: ActivityTask) -> ActivityReport:
        kind, payload, failure = "completed", task.arguments[1:-1] or b"null", None
        if self.dice.random() < 0.1:
            kind, payload, failure = "failed", None, Failure("application", "E", "no")
        which = task.workflow_id, task.run_id, task.id, task.attempt
        return ActivityReport(*which, cast(Any, kind), payload, failure)

    def _valid(self) -> tuple[Source, Any]:
        dice = self.dice
        choice = dice.random()
        if choice < 0.2 and self._tasks:
            return "results", self._report(dice.choice(self._tasks))
        if choice < 0.3 and self._timers:
            return "timers", dice.choice(self._timers)
        if choice < 0.35:
            kind = cast(Any, dice.choice(("execution", "timer", "retry", "heartbeat")))
            return "timers", TimerDue(dice.choice(IDS), self._run_id(), kind, 1, 1, self.ports.now)
        if choice < 0.5 and self.ports.messages:
            return "commands", dice.choice(self.ports.messages)
        return "commands", self._command()

    def _report(self, task: ActivityTask) -> ActivityReport:
        kind = cast(Any, self.dice.choice(("started", "completed", "failed", "heartbeat")))
        failure = Failure("application", "E", "no") if kind == "failed" else None
        to = ReplyTo(0, "w", 1) if self.dice.random() < 0.5 else None
        which = task.workflow_id, task.run_id, task.id, task.attempt
        return ActivityReport(*which, kind, b"1", failure, "worker", to)

    def _run_id(self) -> str:
        runs = [summary.run_id for summary in self.shard._ports.tables.runs("")]
        return self.dice.choice(runs) if runs else "none"

    def _command(self) -> ClientCommand:
        dice = self.dice
        client = dice.choice(CLIENTS)
        self._requests[client] += 1
        number = self._requests[client]
        to = ReplyTo(0, client, number) if dice.random() < 0.8 else None
        cause: Any = ClientRequest(client, number)
        if dice.random() < 0.2:
            cause = dice.choice((None, NamedRequest(f"r{number}"), Origin(bytes(16), 3, number, 0)))
        body: Any = body_of(dice, self._run_id())
        caller = None
        if dice.random() < 0.2:
            caller = Caller(Address(None, dice.choice(IDS)), self._run_id(), dice.randrange(6))
            cause = Origin(bytes(16), 3, number, 0)
        return ClientCommand(dice.choice(IDS), body, cause, dice.random() < 0.05, to, caller)

    # --- mutations ----------------------------------------------------------------------------

    def _mutated(self, record: Any) -> tuple[bytes | None, bytes | None]:
        dice = self.dice
        key = record.workflow_id.encode()
        choice = dice.random()
        if choice < 0.1 and isinstance(record, ClientCommand):
            return key, self._as_json(record)
        if choice < 0.6:
            for _ in range(20):
                odd = self._odd(record)
                try:
                    value = encode(odd)
                except SchemaMismatch:
                    continue
                if dice.random() < 0.7:
                    return odd.workflow_id.encode(), value
                record = odd
        return key, self._damaged(encode(record))

    def _odd(self, record: Any) -> Any:
        """Return a record of which one field, however deep, has another value of its type."""
        names = [field.name for field in fields(record)]
        if not names:
            return record
        name = self.dice.choice(names)
        return replace(record, **{name: self._odd_value(getattr(record, name))})

    def _odd_value(self, value: Any) -> Any:
        dice = self.dice
        if is_dataclass(value) and dice.random() < 0.9:
            return self._odd(value)
        match value:
            case bool():
                return not value
            case int():
                return dice.choice(ODD_NUMBERS)
            case str():
                return dice.choice((*ODD_TEXT, *IDS, self._run_id()))
            case bytes():
                return dice.choice(ODD_BYTES)
            case tuple() if value and dice.random() < 0.5:
                return (*value, *value)
            case tuple():
                return ()
            case _:
                odd = (None, *ODD_NUMBERS, *ODD_TEXT, *ODD_BYTES, ReplyTo(0, "x", 1), *OUTCOMES)
                odd = (*odd, DEEP_FAILURE, DEEP_FAILURE)
                return dice.choice(odd)

    def _damaged(self, data: bytes) -> bytes:
        dice = self.dice
        for _ in range(dice.choice((1, 1, 2, 4))):
            at = dice.randrange(10 if dice.random() < 0.95 else 0, max(len(data), 11))
            kind = dice.randrange(5)
            if kind == 0:
                data = data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]
            elif kind == 1:
                data = data[:at] + dice.randbytes(dice.choice((1, 2, 9))) + data[at:]
            elif kind == 2:
                data = data[:at] + data[at + dice.choice((1, 2, 9)) :]
            elif kind == 3:
                data = data[:at] + b"\xff" * dice.choice((1, 8, 9, 10)) + b"\x01" + data[at + 1 :]
            else:
                data = data[:at]
        return data

    def _as_json(self, command: ClientCommand) -> bytes:
        dice = self.dice
        body: dict[str, Any] = {"type": "event", "name": "e", "payload": 1}
        if isinstance(command.body, StartRun):
            body = {"type": "start", "workflow": "mirror", "arguments": [1], "memo": {}}
        text = json.dumps(body)
        odd = (
            *('"\ud800"', "[" * 968 + "]" * 968, "{" * 968, "1e999", "-0", "null", '"\\ud800"'),
            *('""', "{}", "[]", "9" * 5_000, "true", '"\\u0000"', "[" * 100_000),
        )
        place = dice.choice(("1", "{}", '"e"', '"mirror"', "[1]", '"start"', '"event"'))
        text = text.replace(place, dice.choice(odd), 1)
        value = text.encode(errors="surrogatepass")
        return self._damaged(value) if dice.random() < 0.3 else value

    # --- what must hold -----------------------------------------------------------------------

    def read(self, answer: Any) -> Any:
        """Return what a page says, which has to be readable in a deep stack as well."""
        assert isinstance(answer, Page), answer
        assert _nesting(answer.content) < 300
        return json.loads(answer.content)

    def ask(self, body: Any, workflow_id: str) -> Any:
        """Return what a client is told, whose command is a good one."""
        self._requests["good"] += 1
        number = self._requests["good"]
        to = ReplyTo(0, "good", number)
        cause = ClientRequest("good", number) if isinstance(body, StartRun) else None
        command = ClientCommand(workflow_id, body, cause, reply_to=to)
        self.arrive("commands", workflow_id.encode(), encode(command))
        self.ports.replies.clear()
        self.run()
        answers = [reply.body for reply in self.ports.replies if reply.to == to]
        assert len(answers) == 1, f"{body} of {workflow_id!r} was answered {answers}"
        return answers[0]

    def check_good(self, number: int) -> None:
        """A good workflow runs beside all this."""
        self.ask(StartRun("good", b"[%d]" % number, conflict="terminate"), "good")
        for _ in range(10):
            view = self.read(self.ask(DescribeRun(), "good"))
            if view["status"] == "completed":
                assert view["result"] == number
                return
            if view["status"] == "failed":  # its activity was said to have failed
                return
            self.ports.now += 60_000
        raise AssertionError(f"the good workflow is {view}")

    def check_questions(self) -> None:
        """Everybody's questions are answered, whatever was accepted before."""
        listed = self.ask(ListRuns(limit=1_000), "")
        for each in self.read(listed):
            self.read(self.ask(DescribeRun(), each["workflow_id"]))
            history = self.ask(ReadHistory(run_id=each["run_id"]), each["workflow_id"])
            self.read(history)

    def take_over(self) -> None:
        """The next owner makes the same of the log, with the tables or without them."""
        self.shard.close()
        self.ports.acks.clear()
        if self.dice.random() < 0.5:
            self.store = Memory()
        self.shard = shard(self.ports, self.store, self.runners)
        self.run()


def _nesting(text: bytes) -> int:
    depth = deepest = 0
    for byte in re.sub(rb'"(?:[^"\\]|\\.)*"', b"", text):
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    return deepest


def played(seed: int) -> Fuzz:
    """Return the fuzz of a seed, which has been played."""
    failures, logger = Failures(), logging.getLogger("processor.shard")
    logger.addHandler(failures)
    fuzz = Fuzz(seed, failures)
    try:
        fuzz.play(INPUTS)
    except Exception as error:
        error.add_note(f"seed {seed}: `python -m tests.shard.fuzz --seed {seed} --inputs {INPUTS}`")
        raise
    finally:
        logger.removeHandler(failures)
    return fuzz


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts, reasons = Counter[str](), Counter[str]()
    for seed in range(given.seed, given.seed + given.inputs // INPUTS):
        fuzz = played(seed)
        counts.update(fuzz.counts)
        reasons.update(fuzz.reasons)
    print(dict(counts))
    for reason, count in reasons.most_common(20):
        print(f"{count:8,}  {reason}")


if __name__ == "__main__":
    main()
