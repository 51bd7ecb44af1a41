"""Levels: what a later release writes without its news is what this one reads, and the rest TooNew.

The schemas of the later releases here are ours with branches added, and those of earlier ones are
ours with branches taken away: each time the bytes of everything else have to stay as they are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from processor.codec import records
from processor.codec.inputs import decode_command, envelope_of
from processor.codec.records import LEVEL, Codec, decode, encode, later_events, level_of
from processor.codec.schemas.compatibility import check
from processor.codec.schemas.files import load, load_levels
from processor.core.data.address import Address, Caller, ReplyTo, ReplyToTopic, RunRef
from processor.core.data.cause import CallRequest, ClientRequest, Origin, StartRequest
from processor.core.data.frozen import frozen
from processor.core.entity_id import EntityId
from processor.core.event import Event
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import AnswerAwaited, AnswerNotAwaited, GiveUpCall
from processor.core.nouns.call import (
    AnswerCall,
    CallAnswered,
    CallGivenUp,
    CallSent,
    MessageRejected,
)
from processor.core.nouns.child import (
    ChildCalled,
    ChildCancelRequested,
    ChildEnded,
    ChildrenSpared,
    ChildStarted,
    EndChild,
    TerminateWith,
)
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.locks.granting import (
    CallUnderLock,
    HolderCalled,
    LockEntity,
    LockFreed,
    LockGranted,
    LockRequested,
    LockWithdrawn,
    UnlockEntity,
)
from processor.core.nouns.locks.holding import LockAnswered, LockCalled, LockReleased
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.start import StartChild, StartPlanned, StartRun, begins
from processor.core.nouns.stop import CancelRun, OutputSet
from processor.core.nouns.value import AwaitValue
from processor.core.records.answers import Accepted, Closed, Locked, QueryAnswered, Refused, ValueIs
from processor.core.records.marks import Answered
from processor.core.records.snapshot import RunImage, Snapshot
from processor.core.records.turn import Claim, Positions, Turn
from processor.core.vocabulary import EVENTS
from processor.errors import SchemaMismatch, TooNew
from tests.codec.samples import DIRECTORY

PLACE = ("order-1", "run-1", 17, 0, 5, "commands", Positions(), 0, None)
STARTED = WorkflowStarted("order", None, b"16 random bytes.")
OTHER = Address(None, "other")


@frozen
class RunArchived:
    """An event of the next release."""

    why: str


@frozen
class PauseRun:
    """A command of the next release."""

    why: str


def turn(*happened: Any) -> Turn:
    return Turn(*PLACE, happened)


def call(operation: Any) -> CallSent:
    return CallSent(3, OTHER, operation)


def snapshot(*calls: CallSent) -> Snapshot:
    return Snapshot(*PLACE, (STARTED,), RunImage(STARTED, 5, 5, 1, calls=calls), b"1")


def union_of(schema: Any, record: str, field: str) -> list[Any]:
    """Return the branches of a union, to be changed in place."""
    found = named(schema, record)
    assert found is not None, f"no record {record}"
    type = next(each["type"] for each in found["fields"] if each["name"] == field)
    branches: list[Any] = type["items"] if isinstance(type, dict) else type
    return branches


def named(schema: Any, name: str) -> Any:
    if isinstance(schema, list):
        return next(filter(None, (named(part, name) for part in schema)), None)
    if not isinstance(schema, dict):
        return None
    if schema.get("name") == name and schema["type"] == "record":
        return schema
    parts = [each["type"] for each in schema.get("fields", ())]
    return named([*parts, schema.get("items")], name)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    change(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


# --- a later release --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Codec]:
    """The next release: it has a new event, a new command, and one more operation of calls."""
    directory = Path(shutil.copytree(DIRECTORY, tmp_path_factory.mktemp("later") / "schemas"))
    why = {"name": "why", "type": "string", "doc": "Why."}

    def branch(cls: type) -> dict[str, Any]:
        return {"type": "record", "name": cls.__name__, "doc": "New.", "fields": [why]}

    def add_event(schema: Any) -> None:
        union_of(schema, schema["name"], "events").append(branch(RunArchived))
        union_of(schema, "CallSent", "operation").append(branch(PauseRun))

    edit(directory / "turn.avsc", add_event)
    edit(directory / "snapshot.avsc", add_event)
    edit(
        directory / "command.avsc",
        lambda schema: union_of(schema, "ClientCommand", "body").append(branch(PauseRun)),
    )
    assert check(directory) == [], "the release is one that may be made"
    with pytest.MonkeyPatch.context() as patch:
        for cls in (RunArchived, PauseRun):
            patch.setitem(records._CLASSES, cls.__name__, cls)
        yield Codec(directory)


ARCHIVED: Any = RunArchived("old")
PAUSE: Any = PauseRun("lunch")
WHO = Caller(OTHER, "run-9", 1)
LOG = b"a log of 16 byte"
RETRY = RetryOptions(1_000, 2.0, 100_000)
CHILD = StartChild("order", plan=Plan(retry=RETRY), root=RunRef("top", "run-0"), tells_start=True)
TEAM = ReplyToTopic(2, "c", 3, "team-a")
COMMAND = ClientCommand(
    "order-1",
    RaiseEvent("go"),
    ClientRequest("c", 3),
    True,
    ReplyTo(2, "c", 3),
    WHO,
)


@pytest.mark.parametrize(
    ("record", "level"),
    [
        (turn(STARTED), 1),
        (turn(), 1),
        (turn(STARTED, ARCHIVED), LEVEL + 1),
        (turn(ARCHIVED, STARTED), LEVEL + 1),
        (turn(call(StartRun("order"))), 1),
        (turn(call(PAUSE)), LEVEL + 1),
        (snapshot(), 1),
        (snapshot(call(CancelRun())), 1),
        (snapshot(call(CancelRun()), call(PAUSE)), LEVEL + 1),
        (replace(snapshot(), events=(ARCHIVED,)), LEVEL + 1),
        (COMMAND, 1),
        (replace(COMMAND, body=StartPlanned("order", plan=Plan(retry=RETRY))), 2),
        (replace(turn(STARTED), cause=CallRequest(Origin(LOG, 1, 2, 3), WHO)), 2),
        (replace(turn(STARTED), cause=StartRequest(Origin(LOG, 1, 2, 3), WHO)), 2),
        (replace(COMMAND, body=CHILD), 2),
        (replace(COMMAND, body=EndChild(WHO, "cancel", "enough")), 2),
        (replace(COMMAND, body=TerminateWith("enough", recursive=False)), 2),
        (replace(COMMAND, body=TerminateWith(output=b"3")), 2),
        (turn(OutputSet(b"3")), 2),
        (turn(ChildCalled(3, OTHER, CHILD, "abandon")), 2),
        (turn(ChildStarted(3, "run-9")), 2),
        (turn(ChildEnded(3, Closed("run-9", "completed", b"1"))), 2),
        (turn(ChildEnded(3, Refused("WorkflowAlreadyStarted", "taken"))), 2),
        (turn(ChildCancelRequested(3, "enough")), 2),
        (turn(ChildrenSpared()), 2),
        (turn(AnswerAwaited(WHO, "value", "v")), 2),
        (turn(AnswerNotAwaited(WHO)), 2),
        (turn(CallGivenUp(4)), 2),
        (turn(call(AwaitValue("v"))), 2),
        (turn(CallAnswered(4, QueryAnswered("run-9", b"1"))), 2),
        (replace(COMMAND, body=GiveUpCall(WHO)), 2),
        (replace(COMMAND, body=AnswerCall("run-9", 4, ValueIs("run-9", 1, b"1"))), 2),
        (turn(LockCalled(3, OTHER)), 2),
        (turn(LockAnswered(3, Locked(5))), 2),
        (turn(LockReleased(3)), 2),
        (turn(LockRequested(WHO), LockGranted(WHO, 5), LockFreed(5, "why")), 2),
        (turn(LockRequested(WHO), LockWithdrawn(WHO)), 2),
        (turn(HolderCalled("u1", "do", b"[1]", True, number=5)), 2),
        (replace(COMMAND, body=begins(EntityId("order", "ada"), LockEntity())), 2),
        (replace(COMMAND, body=CallUnderLock("u1", "do", b"[1]", number=5)), 2),
        (replace(COMMAND, body=UnlockEntity("why", 5)), 2),
        (replace(COMMAND, body=AnswerCall("run-9", 4, Locked(5))), 2),
        (replace(COMMAND, reply_to=TEAM), 2),
        (Answered("a", 0, 1, "commands", Positions(), 0, None, TEAM, Accepted("run")), 2),
        (Answered("a", 0, 1, "commands", Positions(), 0, None, TEAM.numbered(4), Locked(5)), 2),
        (replace(COMMAND, body=PAUSE), LEVEL + 1),
        (Claim("me", "n", 2, 5), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_record_is_of_the_lowest_level_that_has_what_is_in_it(
    later: Codec, record: Any, level: int
) -> None:
    written = later.encode(record)
    assert later.level_of(record) == level
    assert later.decode(written) == record
    if level <= LEVEL:
        assert written == encode(record), "not a byte of it changed"
        assert decode(written) == record
        assert level_of(record) == level
    else:
        with pytest.raises(TooNew, match=rf"a later release .*\(this one knows level {LEVEL}\)"):
            decode(written)


def test_a_release_knows_its_level_and_reads_every_one_before(later: Codec) -> None:
    assert later.level == LEVEL + 1
    known = set(records._codec.fingerprints)
    assert known < set(later.fingerprints)
    assert len(later.fingerprints) == len(known) + 3, "a turn, a snapshot and a command"


def test_who_waits_for_the_answer_to_a_later_releases_command_is_known(later: Codec) -> None:
    data = later.encode(replace(COMMAND, body=PAUSE))
    with pytest.raises(TooNew):
        decode_command(b"order-1", data)
    envelope = envelope_of(b"order-1", data)
    assert envelope == ("order-1", ClientRequest("c", 3), True, ReplyTo(2, "c", 3), COMMAND.caller)
    assert not envelope.is_call, "a client numbered it"
    called = replace(COMMAND, body=PAUSE, cause=Origin(bytes(16), 0, 5, 0), reply_to=None)
    envelope = envelope_of(b"order-1", later.encode(called))
    assert envelope is not None and envelope.is_call
    cut = replace(called, cause=Origin(b"no log id", 0, 5, 0))
    assert envelope_of(b"order-1", later.encode(cut)) is None


@pytest.mark.parametrize(
    ("key", "data"),
    [
        (b"order-2", encode(COMMAND)),
        (None, encode(COMMAND)),
        (b"order-1", encode(COMMAND)[:30]),
        (b"order-1", encode(Claim("order-1", "n", 1, 5))),
        (b"order-1", b"\xc3\x01" + b"12345678" + b"\x0eorder-1"),
        (b"order-1", b"\xc3\x01"),
        (b"order-1", b'{"type": "pause"}'),
        (b"order-1", b""),
        (b"order-1", b"\xc3\x01" + b"\xff" * 40),
    ],
    ids=str,
)
def test_nobody_is_answered_for_what_only_looks_like_a_command(
    key: bytes | None, data: bytes
) -> None:
    """The key is the workflow id: by chance it is not what stands where a command has its own."""
    assert envelope_of(key, data) is None


def test_an_envelope_that_cannot_be_read_says_why() -> None:
    with pytest.raises(SchemaMismatch, match="not a record of processor"):
        records.read_envelope(b"{}")


# --- earlier releases -------------------------------------------------------------------------


@pytest.fixture
def third(tmp_path: Path) -> Path:
    """Our schemas as if they were the third level, which begins with ``LAST``."""
    directory = Path(shutil.copytree(DIRECTORY, tmp_path / "schemas"))
    shutil.rmtree(directory / "published")
    for level in ("1", "2"):
        ignored = shutil.ignore_patterns("published")
        shutil.copytree(DIRECTORY, directory / "published" / level, ignore=ignored)
    for level, last in ((1, CallAnswered), (2, LAST[0])):
        for file in ("turn", "snapshot"):
            path = directory / "published" / str(level) / f"{file}.avsc"
            edit(path, partial(_shorten, has=EVENTS.index(last)))
    return directory


def _shorten(schema: Any, has: int) -> None:
    """Take the last events away."""
    items = union_of(schema, schema["name"], "events")
    del items[has:]


ANSWERED = CallAnswered(3, Accepted("run-9"))
LAST = EVENTS[EVENTS.index(MessageRejected) :]
REJECTED = MessageRejected(3, OTHER, "go", b"1", "nobody")


@pytest.mark.parametrize(
    ("happened", "level"),
    [
        ((STARTED,), 1),
        ((STARTED, ANSWERED), 2),
        ((REJECTED,), 3),
        ((ANSWERED, REJECTED, STARTED), 3),
    ],
)
def test_each_record_has_the_header_of_its_level(
    third: Path, happened: tuple[Event, ...], level: int
) -> None:
    codec = Codec(third)
    headers = {each.level: each.header for each in load_levels(third, "turn")}
    assert len(set(headers.values())) == 3
    record = turn(*happened)
    written = codec.encode(record)
    assert written[:10] == headers[level]
    assert codec.level_of(record) == level
    assert codec.decode(written) == record
    assert written[10:] == encode(record)[10:], "whatever its header says"


def test_records_of_every_level_are_read_alike(third: Path) -> None:
    codec = Codec(third)
    written = codec.encode(turn(STARTED))
    for each in load_levels(third, "turn"):
        assert codec.decode(each.header + written[10:]) == turn(STARTED)


def test_what_a_namespace_of_a_level_does_not_have(third: Path) -> None:
    codec = Codec(third)
    assert codec.level == 3
    assert codec.later_events(3) == codec.later_events(4) == frozenset()
    assert codec.later_events(2) == {*LAST}
    assert codec.later_events(1) == {CallAnswered, *LAST}
    assert later_events(LEVEL) == frozenset()


def test_a_schema_that_did_not_change_keeps_its_level(third: Path) -> None:
    assert [each.level for each in load_levels(third, "turn")] == [1, 2, 3]
    assert [each.level for each in load_levels(third, "claim")] == [1]
    claim = Claim("me", "n", 3, 5)
    assert Codec(third).encode(claim) == encode(claim)
    assert Codec(third).level_of(claim) == 1


def test_other_words_make_no_level(tmp_path: Path) -> None:
    """Else a release that corrects a word would say that it can read the next level."""
    directory = Path(shutil.copytree(DIRECTORY, tmp_path / "schemas"))
    edit(directory / "claim.avsc", lambda schema: schema.update(doc="Other words."))
    assert check(directory) == []
    assert load(directory / "claim.avsc").header == load(DIRECTORY / "claim.avsc").header
    assert Codec(directory).level == LEVEL
