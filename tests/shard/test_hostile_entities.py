"""Hostile JSON commands to entities, and to ids of ours: each is refused clearly, or changes what
it says, and the next good operation is done, also by the next owner of the shard.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from processor import entity, workflow
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.entity_id import EntityId
from processor.core.nouns.external import EventRejected
from processor.core.nouns.start import begins
from processor.core.nouns.update import UpdateCompleted, UpdateRun
from processor.core.questions import QueryRun
from processor.core.records.answers import QueryAnswered, UpdateEnded
from processor.core.records.effects import DeadLetter
from processor.core.records.marks import Answered
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.store.keyvalue import Memory
from processor.workflow._engine.runners import WorkflowRunners

from .fuzz import Failures, Fuzz, FuzzedPorts
from .running import shard

ADA = "@Account@ada"
DEEP = "[" * 5_000 + "]" * 5_000
FITS_NOT = "Expected `int`, got"


@entity.define(history=5)
class Account:
    balance: int = 0
    notes: list[str] = []  # noqa: RUF012  # each has a copy

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    async def slowly(self, delay: float) -> None:
        await workflow.sleep(delay)

    def note(self, text: str) -> int:
        self.notes.append(text)
        return len(self.notes)

    def _empty(self) -> None:
        self.balance = 0


class Became(NamedTuple):
    """What became of a command: why it was refused at the door, and what it left in the log."""

    refused: str
    failed: list[str]
    letters: list[str]

    @property
    def words(self) -> str:
        return " | ".join(filter(None, (self.refused, *self.failed, *self.letters)))


class Bank(Fuzz):
    """A shard with accounts, which takes JSON as it stands in the topic."""

    def __init__(self, failures: Failures) -> None:
        super().__init__(1, failures)
        self.ports, self.store = FuzzedPorts(), Memory()
        self.ports.keeps_messages = True  # all ids are of this shard
        registry = Registry([], [], Injected(JsonPayloads()), [Account])
        self.runners = WorkflowRunners(registry, Settings())
        self.shard = shard(self.ports, self.store, self.runners)
        self.deposits = 0

    def send_json(self, key: bytes, value: bytes) -> Became:
        before = len(self.ports.records())
        letters: list[str] = []
        send = self.ports.send

        def noted(effect: Any, token: int | None, origin: Any = None) -> None:
            if isinstance(effect, DeadLetter):
                letters.append(effect.reason)
            send(effect, token, origin)

        self.arrive("commands", key, value)
        arrived = self.ports.arrived[-1].input
        refused = arrived.reason if isinstance(arrived, DeadLetter) else ""
        self.ports.send = noted  # type: ignore[method-assign]
        self.run()
        self.ports.send = send  # type: ignore[method-assign]
        failed: list[str] = []
        for record in self.ports.records()[before:]:
            if isinstance(record, Answered):
                failed.append(str(record.answer))
            for event in getattr(record, "events", ()):
                if isinstance(event, UpdateCompleted) and event.failure is not None:
                    failed.append(f"{event.failure.type}: {event.failure.message}")
                elif isinstance(event, EventRejected):
                    failed.append(event.reason)
        return Became(refused, failed, letters)

    def deposit(self) -> None:
        """Let a good client deposit something, and be told the outcome."""
        self.deposits += 1
        update = UpdateRun(f"good-{self.deposits}", "deposit", b"[1]", outcome_within_ms=1_000)
        told = self.ask(begins(EntityId("Account", "ada"), update), ADA)
        assert isinstance(told, UpdateEnded) and told.failure is None, told


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    failures, logger = Failures(), logging.getLogger("processor.shard")
    logger.addHandler(failures)
    yield Bank(failures)
    logger.removeHandler(failures)


def called(name: str, arguments: str = "[1]", id: str = "u", more: str = "") -> str:
    told = f'"id": {json.dumps(id)}, "name": {json.dumps(name)}, "arguments": {arguments}'
    return f'{{"type": "update", {told}{more}}}'


def signalled(name: str, payload: str = "1", more: str = "") -> str:
    return f'{{"type": "event", "name": {json.dumps(name)}, "payload": {payload}{more}}}'


NO_JSON = "it is not valid JSON"
UNKNOWN = "there is no operation"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        *((ADA, called("deposit", f"[{each}]", f"a-{each}"), FITS_NOT) for each in
          ("null", "[]", "{}", '"1"', "1.5", "true", "1e30")),
        (ADA, called("deposit", "[1, 2]", "b"), "takes 1 arguments; the payload has 2"),
        (ADA, called("deposit", "[]", "c"), "takes 1 arguments; the payload has 0"),
        (ADA, called("deposit", f"[{'1,' * 99_999}1]", "d"), "the payload has 100000"),
        (ADA, called("deposit", "[1e999]", "e"), "Number out of range"),
        (ADA, called("deposit", f"[{'9' * 5_000}]", "f"), "Integer value out of range"),
        (ADA, called("deposit", f"[{DEEP}]", "g"), NO_JSON),
        *((ADA, called("deposit", each), "Expected `array` - at `$.arguments`") for each in
          ("{}", "null", "5", '"x"')),
        *((ADA, called("deposit", each), NO_JSON) for each in
          ("[NaN]", "[Infinity]", "[1", '["\\ud800"]', "[1]]")),
        *((ADA, signalled("deposit", each), FITS_NOT) for each in
          ("null", "[1]", "{}", '"1"')),
        *((ADA, signalled("deposit", each), NO_JSON) for each in ("NaN", DEEP)),
        *((ADA, called(each, id=f"h-{each}"), UNKNOWN) for each in
          ("_empty", "__init__", "balance", "@state", "\0", "Deposit", "deposit ")),
        *((ADA, signalled(each), UNKNOWN) for each in
          ("_empty", "__init__", "balance", "@history")),
        (ADA, called("x" * 2_000), "the name of the update has 2,000 bytes"),
        (ADA, signalled("x" * 2_000), "the name of the event has 2,000 bytes"),
        (ADA, called(""), "at `$.name`"),
        (ADA, called("deposit", id=""), "at `$.id`"),
        (ADA, called("deposit", id="x" * 2_000), "the id of the update has 2,000 bytes"),
        (ADA, called("deposit", more=', "delay": 1e30'), "unknown field `delay`"),
        (ADA, signalled("deposit", more=', "due_ms": -5'), "unknown field `due_ms`"),
        (ADA, signalled("deposit", more=', "keep_ms": 5'), "for events to a business key"),
        (ADA, signalled("deposit", more=', "run_id": "nobody"'), "is not the latest run"),
        (ADA, signalled("deposit", more=', "headers": {"a": 5}'), "`$.headers[...]`"),
        (ADA, signalled("deposit", more=', "workflow_id": "other"'), "make them equal"),
        (ADA, called("deposit", more=', "type": "event"'), "at `$.type`"),
        (ADA, called("deposit", more=', "name": "_empty"'), UNKNOWN),  # the last one is read
        (ADA, called("slowly", "[1e30]", "i"), "longer than 4,000 years"),
        (ADA, called("note", f'["{"x" * 1_500_000}"]', "j"), "the limit is 1,000,000"),
        (ADA, '{"type": "start", "workflow": "Account"}', "or call the entity"),
        (ADA, '{"type": "lock"}', "at `$.type`; it is one of"),
        *((ADA, f'{{"type": "unlock", "number": {each}}}', "at `$.number`") for each in
          ("-1", "0", "1.5", '"1"', "1e30")),
        *((each, called("deposit"), "no run of workflow id") for each in
          ("@", "@@", "@Account", "@Account@", "@@ada")),
        ("@Nobody@x", called("deposit"), "entity 'Nobody' is not registered"),
        ("@processor.correlation@x", signalled("n"), "is not registered"),
        (f"@Account@{'k' * 1_000_000}", called("deposit"), "the workflow id has 1,000,009 bytes"),
        ("schedule:x", signalled("pause"), "no run of workflow id 'schedule:x'"),
        ("correlation:x", signalled("n"), "is no business key"),
        ("correlation:x=1", '{"type": "start", "workflow": "order"}', "send an event"),
        (
            "order-1",
            '{"type": "start", "workflow": "processor.correlation", "arguments": [{}]}',
            "is a workflow of processor's",
        ),
    ],
    ids=lambda value: value[:40],
)  # fmt: skip
def test_what_is_refused_says_why(bank: Bank, key: str, value: str, told: str) -> None:
    became = bank.send_json(key.encode(), value.encode(errors="surrogatepass"))
    assert told in became.words
    bank.deposit()


def test_odd_keys_are_keys(bank: Bank) -> None:
    for key in ("a@b", "\0", " ", "\u202e", "k" * 980):
        assert bank.send_json(f"@Account@{key}".encode(), called("deposit").encode()).words == ""
        bank.deposit()


def test_a_key_that_is_no_text_is_refused(bank: Bank) -> None:
    became = bank.send_json(b"@Account@\xff", called("deposit").encode())
    assert "is not UTF-8" in became.refused
    bank.deposit()


def test_claims_of_nobody_hold_no_key(bank: Bank) -> None:
    """A key that is claimed by hand for a run that is not there is free again at once."""
    key = b"correlation:by=hand"
    for number, holder in enumerate(("nobody", "x" * 3_000, "", ADA, "schedule:s")):
        assert bank.send_json(key, signalled("n").encode()).words == ""
        claim = called("claim", json.dumps([holder, "run", "chain", 1]), f"c{number}")
        bank.send_json(key, claim.encode())
        told = bank.ask(QueryRun("describe"), key.decode())
        assert isinstance(told, QueryAnswered) and told.result is not None, told
        described = json.loads(told.result)
        assert described["holder"] is None and len(described["kept"]) == number + 1
        bank.deposit()


def test_the_next_owner_makes_the_same_of_it(bank: Bank) -> None:
    bank.take_over()
    bank.deposit()
    bank.check_questions()
