"""The activities of one process, where the same one may run twice for a while."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from processor import activity
from processor.activities import backlog
from processor.activities.executor import Executor
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.address import ReplyTo
from processor.core.inputs import ActivityReport
from processor.core.records.answers import HeartbeatSeen
from processor.core.records.effects import ActivityTask
from processor.injection.interceptors import Injected
from processor.registry import Registry
from tests.own_time import OwnTime, in_own_time


class StoppedClock:
    def now_ms(self) -> int:
        return 0


def task(attempt: int, *, id: int = 1, eager: bool = True) -> ActivityTask:
    fields = ("w-1", "0-1", "flow", id, attempt, "wait", b"[]", "default", eager)
    return ActivityTask(*fields, 0, None, None, None, None)


def test_a_later_attempt_can_be_cancelled_though_the_one_before_ends_first() -> None:
    """A shard that is lost and claimed again counts an attempt as lost that still runs here."""
    gates: dict[int, asyncio.Event] = {1: asyncio.Event(), 2: asyncio.Event()}
    ends: list[Any] = []

    @activity.define(name="wait")
    async def wait() -> None:
        attempt = activity.info().attempt
        try:
            await gates[attempt].wait()
            ends.append((attempt, "done"))
        except asyncio.CancelledError:
            ends.append((attempt, "cancelled"))
            raise

    async def main() -> None:
        payloads = JsonPayloads()
        registry = Registry([], [wait], Injected(payloads))
        executor = Executor(registry, Settings(), "a test", StoppedClock())
        for attempt in (1, 2):
            assert executor.place("wait", activity_options, 0)
            executor.reserve(1)
            executor.start(task(attempt), lambda report: None)
        await asyncio.sleep(0.01)
        gates[1].set()
        await asyncio.sleep(0.01)
        assert executor.running == 1
        executor.cancel("0-1", 1)
        await asyncio.sleep(0.01)
        assert executor.running == 0

    activity_options = wait.wire_options
    in_own_time(main())
    assert ends == [(1, "done"), (2, "cancelled")]


def test_commands_wait_for_slots_that_are_about_to_be_free_and_for_no_others() -> None:
    async def main() -> None:
        ends, reports = asyncio.Event(), []

        @activity.define(name="wait")
        async def wait() -> None:
            await ends.wait()

        payloads = JsonPayloads()
        settings = Settings(max_activities=4)
        executor = Executor(
            Registry([], [wait], Injected(payloads)), settings, "a test", StoppedClock()
        )
        assert executor.place("wait", wait.wire_options, 0)
        executor.reserve(3)
        assert executor.place("wait", wait.wire_options, 0)
        assert not executor.place("wait", wait.wire_options, 1), "that one has the last slot"
        assert executor.room() == 1
        executor.reserve(1)
        assert not executor.place("wait", wait.wire_options, 0)
        assert executor.room() == 0, "they are on their way into the log"
        for id in range(4):
            executor.start(task(1, id=id), reports.append)
        assert executor.room() == 0, "they may be over in a moment"
        await asyncio.sleep(0.01)
        assert executor.room() == 4, "they go on: a queue is better than waiting"
        ends.set()
        await asyncio.sleep(0.01)
        assert len(reports) == 4 and executor.running == 0
        assert executor.free == executor.room() == 0, "each outcome has its slot, for what follows"
        executor.enqueue(task(1, id=9, eager=False), reports.append)
        executor.release(4)
        assert executor.free == 4, "who released them comes first"
        await asyncio.sleep(0.01)
        assert [report.kind for report in reports[4:]] == ["completed"]

    in_own_time(main())


def test_an_attempt_that_is_cancelled_before_it_begins_does_not_run_and_leaves_no_slot() -> None:
    ran: list[int] = []

    async def main() -> None:
        @activity.define(name="wait")
        async def wait() -> None:
            ran.append(1)

        payloads = JsonPayloads()
        registry = Registry([], [wait], Injected(payloads))
        executor = Executor(registry, Settings(), "a test", StoppedClock())
        slots = executor.free
        executor.reserve(1)
        executor.start(task(1), lambda report: None)
        executor.cancel("0-1", 1)
        await asyncio.sleep(0.01)
        assert executor.running == 0 and executor.free == slots

    in_own_time(main())
    assert ran == []


@pytest.mark.parametrize(
    ("seconds", "start_to_close_ms", "said"),
    [
        (0.0, None, ["completed"]),
        (0.2, None, ["started", "completed"]),
        (0.0, 60_000, ["started", "completed"]),
    ],
    ids=["it is over at once", "it takes a while", "a time-out begins with the start"],
)
def test_the_start_of_a_queued_attempt_is_said_where_it_matters(
    seconds: float, start_to_close_ms: int | None, said: list[str]
) -> None:
    @activity.define(name="wait")
    async def wait() -> None:
        await asyncio.sleep(seconds)

    async def main() -> None:
        payloads = JsonPayloads()
        registry = Registry([], [wait], Injected(payloads))
        executor = Executor(registry, Settings(), "a test", StoppedClock())
        reports: list[ActivityReport] = []
        queued = replace(task(1, eager=False), start_to_close_ms=start_to_close_ms)
        executor.enqueue(queued, reports.append)
        async with asyncio.timeout(5):
            while executor.running:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert [report.kind for report in reports] == said

    in_own_time(main())


class Asked:
    """An executor of an activity that counts its runs, and what the executor reports."""

    def __init__(self) -> None:
        self.runs: list[int] = []
        self.reports: list[ActivityReport] = []

        @activity.define(name="wait")
        async def count() -> None:
            self.runs.append(activity.info().attempt)

        payloads = JsonPayloads()
        registry = Registry([], [count], Injected(payloads))
        self.executor = Executor(registry, Settings(), "a test", StoppedClock())
        self.executor.reply_to = ReplyTo(0, "a test")
        self.slots = self.executor.free

    def take(self, attempt: int = 1) -> None:
        self.executor.enqueue(task(attempt, eager=False), self.reports.append, again=True)

    def said(self) -> list[str]:
        return [report.kind for report in self.reports]


def test_a_task_that_came_before_runs_once_its_shard_wants_it() -> None:
    """One that ends its worker at once is counted, because its start has landed by then."""

    async def main() -> None:
        it = Asked()
        it.take()
        it.take()
        await asyncio.sleep(0.01)
        assert it.said() == ["started"] and it.reports[0].reply_to is not None
        assert it.runs == [] and it.executor.free == it.slots - 1
        assert not it.executor.heed(HeartbeatSeen("0-1", 1, 1, cancelled=False))
        await asyncio.sleep(0.01)
        assert it.runs == [1] and it.said() == ["started", "completed"]
        assert it.executor.free == it.slots

    in_own_time(main())


def test_a_task_that_came_before_and_is_over_does_not_run() -> None:
    async def main() -> None:
        it = Asked()
        it.take()
        assert not it.executor.heed(HeartbeatSeen("0-1", 1, 2, cancelled=True))
        assert it.executor.heed(HeartbeatSeen("0-1", 1, 1, cancelled=True))
        await asyncio.sleep(0.01)
        assert it.runs == [] and it.executor.free == it.slots
        it.take(attempt=2)
        it.executor.heed(HeartbeatSeen("0-1", 1, 2, cancelled=False))
        await asyncio.sleep(0.01)
        assert it.runs == [2]

    in_own_time(main())


def test_a_task_that_no_shard_speaks_of_runs_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "_ASK_S", 0.05)

    async def main() -> None:
        it = Asked()
        it.take()
        async with asyncio.timeout(10):
            while not it.runs:
                await asyncio.sleep(0.01)
        assert it.executor.free == it.slots

    in_own_time(main())


def test_a_later_attempt_is_asked_about_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question of the one before must not let it begin."""

    async def main() -> None:
        it = Asked()
        monkeypatch.setattr(backlog, "_ASK_S", 0.05)
        it.take(attempt=1)
        monkeypatch.setattr(backlog, "_ASK_S", 60.0)
        it.take(attempt=2)
        await asyncio.sleep(0.2)
        assert it.runs == [] and it.said() == ["started", "started"]
        it.executor.heed(HeartbeatSeen("0-1", 1, 2, cancelled=False))
        await asyncio.sleep(0.01)
        assert it.runs == [2]

    in_own_time(main())


def test_what_a_shard_says_of_another_attempt_ends_nothing() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        @activity.define(name="wait")
        async def wait() -> None:
            await gate.wait()

        payloads = JsonPayloads()
        registry = Registry([], [wait], Injected(payloads))
        executor = Executor(registry, Settings(), "a test", StoppedClock())
        reports: list[ActivityReport] = []
        executor.enqueue(task(2), reports.append)
        await asyncio.sleep(0.01)
        assert not executor.heed(HeartbeatSeen("0-1", 1, 1, cancelled=True))
        await asyncio.sleep(0.01)
        assert executor.running == 1
        assert executor.heed(HeartbeatSeen("0-1", 1, 2, cancelled=True))
        await asyncio.sleep(0.01)
        assert executor.running == 0

    in_own_time(main())


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("begun", [True, False])
def test_who_brought_a_task_hears_that_it_was_given_up(eager: bool, begun: bool) -> None:
    """Seen on Kafka: the offset of a task whose run ended in the same process stood for ever."""
    reports: list[ActivityReport] = []

    @activity.define(name="wait")
    async def wait() -> None:
        await asyncio.sleep(9)

    async def main() -> None:
        payloads = JsonPayloads()
        registry = Registry([], [wait], Injected(payloads))
        executor = Executor(registry, Settings(), "a test", StoppedClock())
        if eager:
            executor.reserve(1)
            executor.start(task(1), reports.append)
        else:
            executor.enqueue(task(1, eager=False), reports.append)
        await asyncio.sleep(0.01 if begun else 0)
        executor.cancel("0-1", 1)
        await asyncio.sleep(0.01)
        assert executor.running == 0

    in_own_time(main())
    said = [(r.kind, r.failure.type) for r in reports if r.failure]
    assert said == ([] if eager else [("failed", "ActivityCancelled")])


def test_a_copy_of_a_task_that_runs_takes_its_report_over() -> None:
    """A shard that is opened again in this process reads another inbox than the one before."""
    gate = asyncio.Event()
    before: list[ActivityReport] = []
    after: list[ActivityReport] = []

    @activity.define(name="wait")
    async def wait() -> None:
        await gate.wait()

    async def main() -> None:
        payloads = JsonPayloads()
        settings = Settings(max_activities=1)
        registry = Registry([], [wait], Injected(payloads))
        executor = Executor(registry, settings, "a test", StoppedClock())
        for id in (1, 2):
            executor.enqueue(task(1, id=id, eager=False), before.append)
        await asyncio.sleep(0.01)
        for id in (1, 2):
            executor.enqueue(task(1, id=id, eager=False), after.append)
        gate.set()
        await asyncio.sleep(0.01)

    in_own_time(main())
    assert before == []
    assert sorted({report.id for report in after if report.kind == "completed"}) == [1, 2]


# --- payloads and headers ------------------------------------------------------------------------


def outcome_of(function: Any, loop: OwnTime | None = None, **changes: Any) -> list[ActivityReport]:
    """Return what is reported of an attempt that runs in the queue, in order."""
    reports: list[ActivityReport] = []

    async def main() -> None:
        over = asyncio.Event()

        def take(report: ActivityReport) -> None:
            reports.append(report)
            if report.kind in ("completed", "failed"):
                over.set()

        payloads = JsonPayloads()
        defined = activity.define(name="wait")(function)
        registry = Registry([], [defined], Injected(payloads))
        executor = Executor(registry, Settings(), "a test", StoppedClock())
        executor.enqueue(replace(task(1, eager=False), **changes), take)
        async with asyncio.timeout(30):
            await over.wait()

    if loop is None:
        asyncio.run(main())
    else:
        in_own_time(main(), loop)
    return reports


@pytest.mark.parametrize(
    ("result", "payload"), [(None, None), ("", b'""'), ({}, b"{}"), (0, b"0"), ([None], b"[null]")]
)
def test_a_result_of_none_is_no_payload(result: Any, payload: bytes | None) -> None:
    async def returns() -> Any:
        return result

    assert outcome_of(returns)[-1].payload == payload


@pytest.mark.parametrize(
    ("arguments", "given"),
    [(None, "default"), (b"[]", "default"), (b"[null]", None), (b'[""]', "")],
    ids=str,
)
def test_arguments_that_are_absent_are_the_functions_own(
    arguments: bytes | None, given: str | None
) -> None:
    seen: list[str | None] = []

    async def takes(value: str | None = "default") -> None:
        seen.append(value)

    assert outcome_of(takes, arguments=arguments)[-1].kind == "completed"
    assert seen == [given]


@pytest.mark.parametrize("arguments", [b"", b"null", b"{}"], ids=str)
def test_arguments_that_are_no_list_fail_the_attempt(arguments: bytes) -> None:
    async def takes() -> None:
        raise AssertionError("it is not called")

    (report,) = outcome_of(takes, arguments=arguments)
    assert report.failure is not None
    assert (report.failure.kind, report.payload) == ("schema_mismatch", None)
    assert "the arguments have to be a list" in report.failure.message


@pytest.mark.parametrize(
    ("before", "seen"), [(None, None), (b"null", None), (b"7", 7)], ids=["absent", "null", "7"]
)
def test_details_of_heartbeats_may_be_absent(before: bytes | None, seen: int | None) -> None:
    async def beats() -> int | None:
        activity.heartbeat()
        await asyncio.sleep(0)
        return activity.heartbeat_details(int | None)

    reports = outcome_of(beats, heartbeat_details=before, heartbeat_ms=60_000)
    assert [report.kind for report in reports] == ["started", "heartbeat", "completed"]
    assert reports[1].payload is None
    assert reports[2].payload == (None if seen is None else b"7")


def test_an_attempt_sees_the_headers_of_its_task() -> None:
    async def reads() -> list[str]:
        return [f"{name}={value.decode()}" for name, value in activity.info().headers.items()]

    headers = (("trace", b"abc"), ("tenant", b"7"))
    assert outcome_of(reads, headers=headers)[-1].payload == b'["trace=abc","tenant=7"]'
    assert outcome_of(reads)[-1].payload == b"[]"
