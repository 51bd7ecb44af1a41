"""Answers that change nothing: results, descriptions, histories and lists, from the tables."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

from processor.codec.json_views import (
    history_page,
    lineage_view,
    open_view,
    summary_view,
    to_json,
)
from processor.config import Settings
from processor.core.data.cause import is_keyed
from processor.core.data.failure import shortened
from processor.core.data.shown import shown
from processor.core.draft import Outcome
from processor.core.inputs import ClientCommand, Input
from processor.core.nouns.awaited import goes_on
from processor.core.nouns.run import Summary, WorkflowStarted
from processor.core.nouns.start import StartRun, StartWith
from processor.core.operation import Request
from processor.core.questions import AwaitResult, DescribeRun, ListRuns, ReadHistory
from processor.core.records.answers import Accepted, Closed, Page, Refused, ReplyBody
from processor.core.records.effects import Reply, RunResult
from processor.core.runner import CodeError
from processor.failures import trace_of
from processor.policy import Status
from processor.schedules.cron import next_ms as cron_next_ms
from processor.shard.dedup import Standing
from processor.shard.ports import Clock, Outbox, Tables
from processor.shard.turns.cache import Entry
from processor.shard.turns.instances import recorded
from processor.shard.waiters import Waiters

__all__ = ("EXPIRED", "Reads", "closed")

_log = logging.getLogger("processor.shard")

_OF_VALUES: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What code raises about a value. A disk that fails is no matter of one question."""

_PAGE_BYTES = 400_000
_ERROR_MAX = 500
_SCANNED_MAX = 5_000


class Reads:
    """Serves reads; called only when every turn before them is acknowledged.

    ``_waiters`` wait for the end of a run, or (True) for that of its chain.
    """

    def __init__(
        self,
        partition: int,
        tables: Tables,
        outbox: Outbox,
        clock: Clock,
        settings: Settings,
        producer: Callable[[], str] = str,
    ) -> None:
        self._producer = producer
        self._partition = partition
        self._tables = tables
        self._outbox = outbox
        self._clock = clock
        self._waiters: Waiters[bool] = Waiters(settings.waiters_max)

    def closed(self, result: RunResult) -> None:
        """Answer everybody who waits for this run, but for those who wait for its whole chain."""
        following = result.successor_run_id if goes_on(result.status) else None
        for to, expires_ms, is_chain in self._waiters.of(result.run_id):
            self._waiters.drop(result.run_id, to)
            if is_chain and following is not None:
                self._waiters.waits(following, to, expires_ms, what=True)
            else:
                self._outbox.reply(Reply(to, result.told()))

    def answer(self, input: Input, outcome: Outcome) -> None:
        """Tell whoever asked what was decided."""
        for reply in outcome.replies:
            self._outbox.reply(reply)
        if not isinstance(input, ClientCommand):
            return
        if outcome.answer is not None:
            self._answer(input, outcome.answer)
        if isinstance(outcome.awaited, AwaitResult):
            self._await_result(input, outcome.awaited)

    def again(
        self,
        command: ClientCommand,
        run_id: str,
        standing: Standing,
        answer: Accepted | Refused | None,
    ) -> None:
        """Answer a request that was sent again, as it was answered before.

        ``run_id`` is that of the run that a start made, ``answer`` what was told that left no turn.
        """
        latest = self._tables.latest(command.workflow_id)
        makes_run = isinstance(command.body, StartRun) and not isinstance(command.body, StartWith)
        if answer is not None:
            self._answer(command, answer)
        elif run_id and self._tables.run(run_id) is not None:
            self._answer(command, Accepted(run_id, created=not is_keyed(command.cause)))
        elif standing == "expired" or latest is None or makes_run:
            self._answer(command, EXPIRED)
        else:
            self._answer(command, latest.accepted(created=False))

    def guarded(self, command: ClientCommand, question: Callable[[], None]) -> None:
        """Answer a question. One that cannot be answered ends here: nothing else depends on it."""
        try:
            question()
        except _OF_VALUES as error:
            self._answer(command, self._failed(command, error))

    def tried(self, command: ClientCommand, question: Callable[[], ReplyBody]) -> ReplyBody:
        """Return the answer to a question, or why it could not be answered."""
        try:
            return question()
        except _OF_VALUES as error:
            return self._failed(command, error)

    def _failed(self, command: ClientCommand, error: Exception) -> Refused:
        kind = type(command.body).__name__
        told = shown(error)
        _log.error(
            "shard %d: %s of %r failed\n%s",
            self._partition,
            kind,
            command.workflow_id,
            trace_of(error),
        )
        reason = f"{kind} failed: {shortened(told.words, _ERROR_MAX)}"
        return Refused(
            "CommandRejected",
            f"{reason}; the traceback is in the log of the worker. Nothing was changed",
        )

    def serve(self, command: ClientCommand, body: Request) -> None:
        match body:
            case AwaitResult():
                self._await_result(command, body)
            case ReadHistory():
                self._history(command, body)
            case ListRuns():
                self._list_runs(command, body)
            case _:
                raise AssertionError(f"{body} is no question")

    def _await_result(self, command: ClientCommand, body: AwaitResult) -> None:
        summary = self.find(command.workflow_id, body.run_id, body.first_run_id)
        if isinstance(summary, Refused):
            self._answer(command, summary)
        elif summary.purged_ms is not None:
            self._answer(command, closed(summary))
        elif summary.status.is_open:
            self._wait(command, summary.run_id, body)
        elif body.run_id is None and summary.successor and goes_on(summary.status):
            self._wait(command, summary.successor, body)  # it begins with the next record
        else:
            self._answer(command, closed(summary))

    def describe(self, command: ClientCommand, body: DescribeRun, entry: Entry) -> Reply:
        """Return the description of a run as it is now, to be sent once that is acknowledged."""
        assert command.reply_to is not None
        latest = entry.latest
        found: Summary | Refused
        if latest is not None and latest.is_meant(body.run_id, body.first_run_id):
            found = latest
        else:
            found = self.find(command.workflow_id, body.run_id, body.first_run_id)
        if isinstance(found, Refused):
            return Reply(command.reply_to, found)
        view = {**summary_view(found), "shard": self._partition, "producer": self._producer()}
        instance = entry.instance
        if instance is not None and found.status.is_open:
            runner = instance.runner
            waiting = [] if isinstance(runner, CodeError) else runner.waiting()
            now_ms = self._clock.now_ms()
            view |= open_view(
                instance.state,
                waiting,
                instance.unread,
                lambda cron: cron_next_ms(cron, now_ms),
            )
            started = instance.state.started
        else:
            started = self._started(found.run_id)
        if started is not None:
            view.update(lineage_view(started))
        undelivered = self._outbox.undelivered(found.run_id)
        if undelivered is not None:
            view["undelivered"] = asdict(undelivered)
        return Reply(command.reply_to, Page(to_json(view)))

    def _started(self, run_id: str) -> WorkflowStarted | None:
        """Return how a closed run began, as long as its history is there."""
        for _, turn in recorded(self._tables, run_id, end=1):
            if isinstance(turn.events[0], WorkflowStarted):
                return turn.events[0]
        return None

    def _history(self, command: ClientCommand, body: ReadHistory) -> None:
        summary = self.find(command.workflow_id, body.run_id, body.first_run_id)
        if not isinstance(summary, Refused) and summary.purged_ms is not None:
            summary = _purged(summary)
        if isinstance(summary, Refused):
            self._answer(command, summary)
            return
        turns = recorded(self._tables, summary.run_id, max(body.first, 0))
        self._answer(command, history_page(summary.run_id, turns))

    def _list_runs(self, command: ClientCommand, body: ListRuns) -> None:
        views: list[bytes] = []
        size, after = 0, None
        for scanned, summary in enumerate(self._tables.runs(body.after), 1):
            if body.status in (None, summary.status.value):
                if body.workflow in (None, summary.workflow):
                    views.append(to_json(summary_view(summary)))
                    size += len(views[-1])
            if len(views) >= body.limit or scanned >= _SCANNED_MAX or size >= _PAGE_BYTES:
                after = summary.workflow_id
                break
        self._answer(command, Page(b"[%b]" % b",".join(views), after))

    def find(
        self, workflow_id: str, run_id: str | None, first_run_id: str | None
    ) -> Summary | Refused:
        """Return the run that is meant; of a chain, its latest one that is known."""
        summary = self._tables.latest(workflow_id)
        named = run_id or first_run_id
        if named is not None and (summary is None or not summary.is_meant(run_id, first_run_id)):
            summary = self._tables.run(named)
            while run_id is None and summary is not None and summary.successor is not None:
                following = self._tables.run(summary.successor)
                if following is None or following.first_run_id != first_run_id:
                    break
                summary = following
        if summary is None or summary.workflow_id != workflow_id:
            which = f"no run of workflow id {workflow_id!r}"
            which += f" has run id {named!r}" if named is not None else ""
            return Refused("WorkflowNotFound", which)
        return summary

    def _wait(self, command: ClientCommand, run_id: str, body: AwaitResult) -> None:
        assert command.reply_to is not None, "only who can be answered waits"
        what = run_id, command.reply_to, body.timeout_ms, body.run_id is None
        if not self._waiters.wait(*what, self._clock.now_ms()):
            self._too_many(command, run_id)

    def _too_many(self, command: ClientCommand, run_id: str) -> None:
        reason = f"shard {self._partition} has {self._waiters.most} waiting clients"
        refused = Refused("ShardUnavailable", f"{reason}; ask again later")
        started = isinstance(command.body, StartRun)
        self._answer(command, Accepted(run_id) if started else refused)

    def _answer(self, command: ClientCommand, body: ReplyBody) -> None:
        if command.reply_to is not None:
            self._outbox.reply(Reply(command.reply_to, body))


EXPIRED: Final = Refused(
    "RequestExpired",
    "the shard does not know any more whether this request counted, so it does not count now. "
    "Look at the workflow (describe, history), and ask anew if it did not",
)


def closed(summary: Summary) -> Closed | Refused:
    """Return how a run has ended."""
    if summary.purged_ms is not None:
        return _purged(summary)
    return Closed(
        summary.run_id,
        summary.status.value,
        summary.result,
        summary.failure,
        summary.successor if summary.status is Status.CONTINUED else summary.cancel_reason,
    )


def _purged(summary: Summary) -> Refused:
    which = f"run {summary.run_id} of {summary.workflow_id!r}"
    return Refused("WorkflowNotFound", f"{which} was {summary.status.value}, and then purged")
