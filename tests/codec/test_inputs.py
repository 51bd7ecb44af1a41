"""What a reader of inputs refuses, although it is a well-formed record: each with what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.codec.inputs import decode_input, decode_task
from processor.codec.records import encode
from processor.core.data.address import Address, Caller, ReplyTo, ReplyToTopic, RunRef
from processor.core.data.cause import ClientRequest, NamedRequest, Origin
from processor.core.data.failure import Failure
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.child import EndChild
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.promise import PromiseId, RejectPromise, ResolvePromise
from processor.core.nouns.start import StartChild, StartRun
from processor.core.nouns.stop import CancelRun
from processor.core.questions import AwaitResult, ListRuns, ReadHistory, ReadShard
from processor.core.records.answers import Accepted, Closed
from processor.core.records.effects import ActivityTask
from processor.errors import SchemaMismatch

LOG = bytes(16)
PROMISE = PromiseId("a", "run", 1).text
START = ClientCommand("a", StartRun("order"), ClientRequest("c", 1), reply_to=ReplyTo(0, "c", 1))
REPORT = ActivityReport("a", "run", 1, 1, "failed", failure=Failure("application", "E", "no"))
TIMER = TimerDue("a", "run", "timer", 1, 0, 5)


def asking(body: Any) -> ClientCommand:
    return replace(START, body=body)


def behind(causes: int) -> Failure:
    failure = Failure("application", "E", "no")
    for _ in range(causes):
        failure = replace(failure, cause=failure)
    return failure


def caller(workflow_id: str = "w", run_id: str = "r", call: int = 1) -> Caller:
    return Caller(Address(None, workflow_id), run_id, call)


ODD: list[tuple[Any, str]] = [
    (replace(START, workflow_id=""), "workflow id has 0 bytes"),
    (replace(START, workflow_id="é" * 501), "workflow id has 1,002 bytes"),
    (replace(TIMER, workflow_id=""), "workflow id has 0 bytes"),
    (replace(REPORT, workflow_id="x" * 1_001), "workflow id has 1,001 bytes"),
    (asking(StartRun("")), "name of the workflow has 0 bytes"),
    (asking(StartRun("x", execution_timeout_ms=0)), "execution_timeout_ms is 0"),
    (asking(StartRun("x", execution_timeout_ms=1 << 62)), "execution_timeout_ms is 4611"),
    (asking(StartRun("x", result_within_ms=-1)), "result_within_ms is -1"),
    (asking(RaiseEvent("")), "name of the event has 0 bytes"),
    (asking(RaiseEvent("x" * 1_001)), "name of the event has 1,001 bytes"),
    (asking(CancelRun("x" * 100_001)), "reason has 100,001 bytes"),
    (asking(AwaitResult(timeout_ms=1 << 62)), "timeout_ms is 4611"),
    (asking(ReadHistory(first=-1)), "first is -1"),
    (asking(ReadHistory(first=(1 << 62) + 1)), "first is 4611"),
    (asking(ListRuns(limit=0)), "limit is 0"),
    (asking(ListRuns(limit=1 << 30)), "limit is 1073741824"),
    (replace(START, reply_to=ReplyTo(-1, "c", 1)), "partition of its reply address is -1"),
    (replace(START, reply_to=ReplyTo(0, "c" * 65, 1)), "client id of its reply address has 65"),
    (replace(START, reply_to=ReplyToTopic(0, "c", 1)), "topic of its reply address has 0 bytes"),
    (replace(START, reply_to=ReplyToTopic(0, "c", 1, "a/b")), "reply address ends with 'a/b'"),
    (replace(START, reply_to=ReplyToTopic(0, "c", 1, "x" * 249)), "or is too long"),
    (replace(START, reply_to=ReplyToTopic(-1, "c", 1, "a")), "partition of its reply address"),
    (replace(START, cause=ClientRequest("c" * 65, 1)), "client id has 65 bytes"),
    (replace(START, cause=ClientRequest("c", 0)), "number of the request is 0"),
    (replace(START, cause=NamedRequest("x" * 256)), "request id has 256 bytes"),
    (replace(START, cause=Origin(b"short", 0, 0, 0)), "log id of its origin has 5 bytes"),
    (replace(START, cause=Origin(LOG, -1, 0, 0)), "shard of its origin is -1"),
    (replace(START, cause=Origin(LOG, 0, -1, 0)), "offset of its origin is -1"),
    (replace(REPORT, failure=None), "says no failure"),
    (replace(REPORT, failure=behind(51)), "more than 50 causes"),
    (
        replace(REPORT, failure=replace(behind(0), next_delay_ms=1 << 62)),
        "next_delay_ms is 4611",
    ),
    (replace(REPORT, worker="x" * 1_001), "worker has 1,001 bytes"),
    (replace(START, caller=caller(workflow_id="")), "workflow id of the caller has 0 bytes"),
    (replace(START, caller=caller(run_id="r" * 1_001)), "run id of the caller has 1,001 bytes"),
    (replace(START, caller=caller(call=-1)), "number of the call is -1"),
    (asking(GiveUpCall(caller(call=-1))), "number of the call is -1"),
    (asking(ResolvePromise("x" * 2_001)), "id of the promise has 2,001 bytes"),
    (asking(ResolvePromise("x")), r"promise: give the id of a workflow.promise\(\) as it is"),
    (asking(RejectPromise(PROMISE, "x" * 100_001)), "message has 100,001 bytes"),
    (asking(RejectPromise(PROMISE, "no", "x" * 1_001)), "error_type has 1,001 bytes"),
    (asking(EndChild(caller(call=-1), "cancel", "")), "number of the call is -1"),
    (asking(StartChild("x", root=RunRef("", "r"))), "workflow id of the first ancestor has 0"),
    (asking(AnswerCall("", 1, Accepted("r"))), "run id of the caller has 0 bytes"),
    (asking(AnswerCall("r", -1, Accepted("r"))), "number of the call is -1"),
    (asking(AnswerCall("r", 1, Closed("k", "failed", None, behind(51)))), "more than 50 causes"),
    (asking(AnswerCall("r", 1, Closed("k", "parked"))), "status: a run ends as one of completed, "),
    (asking(AnswerCall("r", 1, Closed("k", "odd"))), "status: a run ends .* not 'odd'"),
    (asking(AnswerCall("r", 1, Closed("k", "failed"))), "run that failed says no failure"),
    (asking(AnswerCall("r", 1, Closed("k", "continued"))), "reason: the end of a run that was con"),
    (replace(REPORT, reply_to=ReplyTo(-5, "c", 1)), "partition of its reply address is -5"),
]


ODD_TASKS: list[tuple[dict[str, Any], str]] = [
    ({"eager": True}, "an eager task runs where its shard is"),
    ({"workflow_id": ""}, "workflow_id of the task has 0 bytes"),
    ({"workflow_id": "x" * 1_001}, "workflow_id of the task has 1,001 bytes"),
    ({"run_id": ""}, "run_id of the task has 0 bytes"),
    ({"name": ""}, "name of the task has 0 bytes"),
    ({"id": -1}, "number of the activity is -1"),
    ({"attempt": 0}, "number of the attempt is 0"),
    ({"scheduled_ms": 1 << 62}, "scheduled_ms of the task is 4611"),
    ({"deadline_ms": -1}, "deadline_ms of the task is -1"),
    ({"start_to_close_ms": 0}, "start_to_close_ms of the task is 0"),
    ({"heartbeat_ms": 1 << 62}, "heartbeat_ms of the task is 4611"),
]


@pytest.mark.parametrize(("odd", "message"), ODD_TASKS)
def test_a_task_that_no_shard_sends_is_refused_with_what_is_wrong(odd: Any, message: str) -> None:
    names = ("w", "run", "order", 1, 1, "charge", b"[]", "default")
    task = ActivityTask(*names, False, 5, None, None, None)
    assert decode_task(encode(task)) == task
    with pytest.raises(SchemaMismatch, match=message):
        decode_task(encode(replace(task, **odd)))


def source_of(record: Any) -> Any:
    kinds = {ClientCommand: "commands", ActivityReport: "results", TimerDue: "timers"}
    return kinds[type(record)]


@pytest.mark.parametrize(("record", "reason"), ODD, ids=[reason for _, reason in ODD])
def test_it_is_refused_with_what_is_wrong(record: Any, reason: str) -> None:
    key, value = record.workflow_id.encode(), encode(record)
    with pytest.raises(SchemaMismatch, match=reason):
        decode_input(source_of(record), key, value)


OURS = [
    START,
    REPORT,
    TIMER,
    replace(REPORT, failure=behind(50)),
    ClientCommand("", ListRuns(), reply_to=ReplyTo(0, "c", 1)),
    ClientCommand("", ReadShard(), reply_to=ReplyTo(0, "c", 1)),
]


@pytest.mark.parametrize("record", OURS)
def test_what_our_own_writers_write_is_read(record: Any) -> None:
    key, value = record.workflow_id.encode(), encode(record)
    assert decode_input(source_of(record), key, value) == record
