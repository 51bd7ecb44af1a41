"""Answers that change nothing: results, descriptions, histories and lists, from the tables."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from processor.codec.records import decode_as
from processor.codec.views import history_view, pending_view, summary_view, to_json
from processor.config import Settings
from processor.core.effects import Accepted, Closed, Page, Refused, Reply, ReplyBody, RunResult
from processor.core.inputs import (
    AwaitResult,
    ClientCommand,
    DescribeRun,
    Input,
    ListRuns,
    ReadHistory,
    ReplyTo,
    StartRun,
)
from processor.core.runner import CodeError
from processor.core.state import Summary
from processor.core.turn import Turn
from processor.shard.cache import Entry
from processor.shard.ports import Clock, Outbox, Tables

__all__ = ("Reads",)

_PAGE_BYTES = 400_000
_SCANNED_MAX = 5_000


@dataclass(slots=True)
class _Waiter:
    """Who waits for the end of a run; not the command, whose arguments may be large."""

    to: ReplyTo
    request_id: str
    expires_ms: int


class Reads:
    """Serves reads; called only when every turn before them is acknowledged."""

    def __init__(
        self, partition: int, tables: Tables, outbox: Outbox, clock: Clock, settings: Settings
    ) -> None:
        self._partition = partition
        self._tables = tables
        self._outbox = outbox
        self._clock = clock
        self._waiters: dict[str, list[_Waiter]] = {}
        self._expiry: deque[tuple[int, str]] = deque()
        self._waiting = 0
        self._waiters_max = settings.waiters_max

    def closed(self, result: RunResult) -> None:
        """Answer everybody who waits for this run."""
        waiters = self._waiters.pop(result.run_id, ())
        self._waiting -= len(waiters)
        for waiter in waiters:
            body = Closed(result.run_id, result.status, result.result, result.failure)
            self._outbox.reply(Reply(waiter.to, waiter.request_id, body))

    def answer(self, input: Input, replies: Sequence[Reply], awaited: AwaitResult | None) -> None:
        """Answer what was decided; ``awaited`` is what a start asked for with it."""
        for reply in replies:
            self._outbox.reply(reply)
        if awaited is not None:
            assert isinstance(input, ClientCommand), "only starts ask for more"
            self._await_result(input, awaited)

    def serve(self, command: ClientCommand, body: AwaitResult | ReadHistory | ListRuns) -> None:
        match body:
            case AwaitResult():
                self._await_result(command, body)
            case ReadHistory():
                self._history(command, body)
            case ListRuns():
                self._list_runs(command, body)
            case _:
                assert_never(body)

    def _await_result(self, command: ClientCommand, body: AwaitResult) -> None:
        summary = self._find(command.workflow_id, body.run_id)
        if isinstance(summary, Refused):
            self._answer(command, summary)
        elif not summary.status.is_open:
            closed = Closed(summary.run_id, summary.status.value, summary.result, summary.failure)
            self._answer(command, closed)
        else:
            self._wait(command, summary.run_id, body.timeout_ms)

    def describe(self, command: ClientCommand, body: DescribeRun, entry: Entry) -> Reply:
        """Return the description of a run as it is now, to be sent once that is acknowledged."""
        assert command.reply_to is not None
        latest = entry.latest()
        found: Summary | Refused
        if latest is not None and body.run_id in (None, latest.run_id):
            found = latest
        else:
            found = self._find(command.workflow_id, body.run_id)
        if isinstance(found, Refused):
            return Reply(command.reply_to, command.request_id, found)
        view = {**summary_view(found), "shard": self._partition}
        instance = entry.instance
        if instance is not None and found.status.is_open:
            runner = instance.runner
            waiting = [] if isinstance(runner, CodeError) else runner.waiting()
            view["pending"] = pending_view(instance.state, waiting)
        return Reply(command.reply_to, command.request_id, Page(to_json(view)))

    def _history(self, command: ClientCommand, body: ReadHistory) -> None:
        summary = self._find(command.workflow_id, body.run_id)
        if isinstance(summary, Refused):
            self._answer(command, summary)
            return
        views: list[dict[str, object]] = []
        size = 0
        after = None
        for first, value in self._tables.history(summary.run_id, body.first):
            if size + len(value) > _PAGE_BYTES and views:
                after = str(first)
                break
            size += len(value)
            views.extend(history_view(decode_as(Turn, value)))
        self._answer(command, Page(to_json({"run_id": summary.run_id, "events": views}), after))

    def _list_runs(self, command: ClientCommand, body: ListRuns) -> None:
        views: list[dict[str, object]] = []
        after = None
        for scanned, summary in enumerate(self._tables.runs(body.after), 1):
            if body.status in (None, summary.status.value):
                if body.workflow in (None, summary.workflow):
                    views.append(summary_view(summary))
            if len(views) >= body.limit or scanned >= _SCANNED_MAX:
                after = summary.workflow_id
                break
        self._answer(command, Page(to_json(views), after))

    def _find(self, workflow_id: str, run_id: str | None) -> Summary | Refused:
        summary = self._tables.latest(workflow_id)
        if run_id is not None and (summary is None or summary.run_id != run_id):
            summary = self._tables.run(run_id)
        if summary is None or summary.workflow_id != workflow_id:
            which = f"no run of workflow id {workflow_id!r}"
            which += f" has run id {run_id!r}" if run_id is not None else ""
            return Refused("WorkflowNotFound", which)
        return summary

    def _wait(self, command: ClientCommand, run_id: str, timeout_ms: int) -> None:
        now_ms = self._clock.now_ms()
        self._forget(now_ms)
        if self._waiting >= self._waiters_max:
            reason = f"shard {self._partition} has {self._waiters_max} waiting clients"
            refused = Refused("ShardUnavailable", f"{reason}; ask again later")
            started = isinstance(command.body, StartRun)
            self._answer(command, Accepted(run_id) if started else refused)
            return
        expires_ms = now_ms + timeout_ms
        self._waiting += 1
        assert command.reply_to is not None, "only who can be answered waits"
        waiter = _Waiter(command.reply_to, command.request_id, expires_ms)
        self._waiters.setdefault(run_id, []).append(waiter)
        self._expiry.append((expires_ms, run_id))

    def _forget(self, now_ms: int) -> None:
        """Drop waiters whose client has asked again or gone."""
        while self._expiry and self._expiry[0][0] <= now_ms:
            _, run_id = self._expiry.popleft()
            known = self._waiters.get(run_id, [])
            waiters = [w for w in known if w.expires_ms > now_ms]
            self._waiting -= len(known) - len(waiters)
            if waiters:
                self._waiters[run_id] = waiters
            else:
                self._waiters.pop(run_id, None)

    def _answer(self, command: ClientCommand, body: ReplyBody) -> None:
        if command.reply_to is not None:
            self._outbox.reply(Reply(command.reply_to, command.request_id, body))
