"""Requests that arrive more than once: each counts once, and is answered as it was before."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    CommandRejected,
    HistoryEvent,
    Status,
    Worker,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowNotFound,
    WorkflowTerminated,
    workflow,
)
from processor.core.data.address import ReplyTo
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.operation import Operation
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import Reply
from processor.embedded.ports import MemoryInbox
from processor.embedded.runtime import EmbeddedRuntime
from processor.errors import RequestExpired
from processor.shard.ports import InboxRecord

from .inside import runtime_at


@workflow.define
async def waits() -> list[int]:
    found: list[int] = []
    while (number := await workflow.wait_for_event("n", int)) > 0:
        found.append(number)
    return found


@workflow.define
async def has_headers() -> dict[str, str]:
    await workflow.wait_for_event("n")
    return {name: value.decode() for name, value in workflow.info().headers.items()}


@dataclass
class Picky:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise LookupError(self.number)


@workflow.define
async def picky(argument: Picky) -> int:
    return argument.number


def worker(path: Path) -> Worker:
    return Worker(f"embedded:{path}", workflows=[waits, has_headers, picky])


def client(path: Path) -> Client:
    return Client(f"embedded:{path}")


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[ClientCommand]:
    """Return the list that all commands of clients are noted in."""
    noted: list[ClientCommand] = []
    submit = MemoryInbox.submit

    def note(inbox: MemoryInbox, command: ClientCommand) -> None:
        noted.append(command)
        submit(inbox, command)

    monkeypatch.setattr(MemoryInbox, "submit", note)
    return noted


# --- answers that are lost -----------------------------------------------------------------------


def test_who_asks_again_says_so_and_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, submitted: list[ClientCommand]
) -> None:
    replied, told = EmbeddedRuntime._replied, set[int]()

    def loses_the_first(runtime: EmbeddedRuntime, reply: Reply) -> None:
        if reply.to.request in told:
            replied(runtime, reply)
        told.add(reply.to.request)

    monkeypatch.setattr(EmbeddedRuntime, "_replied", loses_the_first)
    monkeypatch.setattr("processor.config._ASK_AGAIN_MAX_S", 0.1)

    async def main() -> None:
        async with worker(tmp_path), client(tmp_path) as c:
            handle = await c.start(waits, id="w")
            for number in (1, 2, 0):
                await handle.raise_event("n", number)
            assert await handle.result() == [1, 2]
            with pytest.raises(WorkflowAlreadyStarted):
                await c.start(waits, id="w", reuse="reject")
            other = await c.start(waits, id="w")
            assert other.run_id != handle.run_id
            await other.cancel("enough")
            with pytest.raises(WorkflowCancelled):
                await other.result()
            types = [event.type for event in await other.history()]
            assert types.count("WorkflowCancelRequested") == types.count("WorkflowStarted") == 1
            third = await c.start(waits, id="w")
            await third.terminate()
            with pytest.raises(WorkflowTerminated):
                await third.result()

    asyncio.run(main())
    asked: dict[int, list[ClientCommand]] = {}
    for command in submitted:
        assert command.reply_to is not None
        asked.setdefault(command.reply_to.request, []).append(command)
    assert len(asked) > 12
    for first, *later in asked.values():
        assert not first.again and later
        assert {*later} == {replace(first, again=True)}


def test_a_command_that_was_lost_with_its_shard_is_asked_again_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a shard took from memory dies with it; the next one must not take it for an old one."""
    taken, lost = MemoryInbox.take, list[InboxRecord]()

    def fails_once(inbox: MemoryInbox, count: int) -> Sequence[InboxRecord]:
        records = taken(inbox, count)
        if records and not lost:
            lost.extend(records)
            raise OSError("a test")
        return records

    monkeypatch.setattr(MemoryInbox, "take", fails_once)
    monkeypatch.setattr("processor.config._ASK_AGAIN_MAX_S", 0.3)

    async def main() -> None:
        async with worker(tmp_path), client(tmp_path) as c:
            assert await c.run(picky, Picky(3)) == 3
            assert lost

    asyncio.run(main())


def test_a_request_that_a_shard_has_forgotten_is_refused_as_expired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = MemoryInbox.submit

    def as_if_before(inbox: MemoryInbox, command: ClientCommand) -> None:
        submit(inbox, replace(command, again=True))

    async def main() -> None:
        async with worker(tmp_path), client(tmp_path) as c, client(tmp_path) as known:
            handle = await known.start(waits, id="w")
            with monkeypatch.context() as patch:
                patch.setattr(MemoryInbox, "submit", as_if_before)
                for request in (
                    c.start(waits, id="new"),
                    c.handle("w").raise_event("n", 1),
                    handle.raise_event("n", 2),
                ):
                    with pytest.raises(RequestExpired, match="it does not count now"):
                        await request
            await handle.raise_event("n", 7)
            assert [run.workflow_id async for run in c.list()] == ["w"]
            await handle.raise_event("n", 0)
            assert await handle.result() == [7]

    asyncio.run(main())


# --- all that was sent, once more ----------------------------------------------------------------


@dataclass
class Story:
    """Four runs of one workflow id, and what was sent for them."""

    commands: list[ClientCommand] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    histories: list[list[HistoryEvent]] = field(default_factory=list)


async def told(c: Client, submitted: list[ClientCommand]) -> Story:
    """Play all kinds of changes; the last run is still open, and a refused start was before it."""
    story = Story()
    cancelled = await c.start(waits, id="w")
    await cancelled.raise_event("n", 1)
    with pytest.raises(WorkflowAlreadyStarted):
        await c.start(waits, id="w", reuse="allow", conflict="fail")
    await cancelled.cancel("enough")
    ended = await c.start(waits, id="w")
    await ended.raise_event("n", 2)
    await ended.terminate("enough")
    replaced = await c.start(waits, id="w")
    running = await c.start(waits, id="w", conflict="terminate")
    await running.raise_event("n", 3)
    await c.handle("w").raise_event("n", 4)
    story.commands = [each for each in submitted if isinstance(each.body, Operation)]
    story.runs = [str(each.run_id) for each in (cancelled, ended, replaced, running)]
    story.histories = [await each.history() for each in (cancelled, ended, replaced, running)]
    assert len(story.commands) == 11
    return story


class Heard:
    """Takes the answers to the requests of a client that is gone."""

    def __init__(self) -> None:
        self.answers: dict[int, Any] = {}

    def resolve(self, reply: Reply) -> None:
        self.answers[reply.to.request] = reply.body


async def sent_again(path: Path, story: Story, again: bool) -> None:
    """Send everything once more, and look at the answers, the runs, and how it goes on."""
    runtime, heard = runtime_at(path), Heard()
    assert story.commands[0].reply_to is not None
    runtime.add_gateway(story.commands[0].reply_to.client, heard)  # type: ignore[arg-type]
    for command in story.commands:
        runtime.inbox.submit(replace(command, again=again))
    async with client(path) as c, asyncio.timeout(30):
        while len(heard.answers) < len(story.commands):
            await asyncio.sleep(0.01)
        found = [await c.handle("w", run_id).history() for run_id in story.runs]
        assert found == story.histories
        for command in story.commands:
            assert command.reply_to is not None
            _check_answer(command, heard.answers[command.reply_to.request], story)
        last = c.handle("w", story.runs[-1], workflow=waits)
        assert (await last.describe()).status is Status.RUNNING
        await last.raise_event("n", 0)
        assert await last.result() == [3, 4]


def _check_answer(command: ClientCommand, answer: Any, story: Story) -> None:
    """A start is told its own run, as it was; the one that was refused is refused."""
    if isinstance(command.body, StartRun):
        starts = [each for each in story.commands if isinstance(each.body, StartRun)]
        number = starts.index(command)
        if number == 1:
            assert isinstance(answer, Refused) and answer.error == "WorkflowAlreadyStarted"
        else:
            assert answer == Accepted(story.runs[max(number - 1, 0)])
    else:
        assert isinstance(answer, Accepted)


@pytest.mark.parametrize("again", [False, True], ids=["copied", "asked again"])
def test_all_that_was_sent_counts_once_in_one_process(
    tmp_path: Path, submitted: list[ClientCommand], again: bool
) -> None:
    async def main() -> None:
        async with worker(tmp_path):
            async with client(tmp_path) as c:
                story = await told(c, submitted)
            await sent_again(tmp_path, story, again)

    asyncio.run(main())


@pytest.mark.parametrize("again", [False, True], ids=["copied", "asked again"])
@pytest.mark.parametrize("rebuilt", [False, True], ids=["kept", "rebuilt"])
def test_all_that_was_sent_counts_once_after_a_restart(
    tmp_path: Path, submitted: list[ClientCommand], again: bool, rebuilt: bool
) -> None:
    async def before() -> Story:
        async with worker(tmp_path), client(tmp_path) as c:
            return await told(c, submitted)

    async def after() -> None:
        async with worker(tmp_path):
            await sent_again(tmp_path, story, again)

    story = asyncio.run(before())
    if rebuilt:
        shutil.rmtree(tmp_path / "tables-0")
    asyncio.run(after())


# --- strangers -----------------------------------------------------------------------------------


def test_a_strangers_request_counts_once_by_its_name(tmp_path: Path) -> None:
    async def main() -> None:
        heard = Heard()
        async with worker(tmp_path), client(tmp_path) as c:
            runtime = runtime_at(tmp_path)
            runtime.add_gateway("a stranger", heard)  # type: ignore[arg-type]
            start = StartRun("has_headers", headers=(("trace", b"abc"), ("tenant", b"7")))
            for number, body in enumerate([start, start, RaiseEvent("n"), RaiseEvent("n")]):
                name = NamedRequest("start" if isinstance(body, StartRun) else "event")
                to = ReplyTo(0, "a stranger", number)
                runtime.inbox.submit(ClientCommand("w", body, name, reply_to=to))
            handle = c.handle("w")
            assert await handle.result() == {"trace": "abc", "tenant": "7"}
            history = await handle.history()
            assert [event.type for event in history].count("EventReceived") == 1
            assert history[0].fields["headers"] == {"trace": "abc", "tenant": "7"}
            run_id = (await handle.describe()).run_id
            assert heard.answers[0] == heard.answers[1] == Accepted(run_id)
            assert {heard.answers[n].run_id for n in (2, 3)} == {run_id}

    asyncio.run(main())


def test_arguments_whose_class_raises_anything_are_refused_and_stop_nothing(
    tmp_path: Path,
) -> None:
    """A payload of a stranger must not stop a shard, whatever the class makes of it."""

    async def main() -> None:
        async with worker(tmp_path) as serving, client(tmp_path) as c:
            epoch = serving.shards[0].epoch
            with pytest.raises(CommandRejected, match="LookupError: -1"):
                await c.start("picky", {"number": -1}, id="w")
            with pytest.raises(WorkflowNotFound):
                await c.handle("w").describe()
            assert await c.run(picky, Picky(3), id="w") == 3
            assert serving.shards[0].epoch == epoch

    asyncio.run(main())
