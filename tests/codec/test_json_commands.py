"""Commands as JSON: each form, each default, and messages that name the field at fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from processor.codec.inputs import decode_command
from processor.codec.records import encode
from processor.core.data.address import ReplyTo
from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin, keyed
from processor.core.inputs import ClientCommand
from processor.core.nouns.child import TerminateWith
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.promise import PromiseId, RejectPromise, ResolvePromise
from processor.core.nouns.start import StartPlanned, StartRun, StartWith
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.nouns.update import UpdateRun
from processor.core.operation import Request
from processor.core.records.turn import Claim
from processor.errors import SchemaMismatch

PROMISE = PromiseId("order-1", "r", 3).text


@pytest.mark.parametrize(
    ("json", "body"),
    [
        ('{"type": "start", "workflow": "w"}', StartRun("w", b"[]")),
        (
            '{"type": "start", "workflow": "w", "arguments": [1, {"a": "ü"}], "reuse": "reject",'
            ' "conflict": "use-existing", "execution_timeout_ms": 5000, "memo": {"m": 1}}',
            StartRun("w", '[1, {"a": "ü"}]'.encode(), "reject", "use-existing", 5000, b'{"m": 1}'),
        ),
        (
            '{"type": "start", "workflow": "w", "memo": null, "headers": {"b": "ü", "a": ""}}',
            StartRun("w", b"[]", memo=b"null", headers=(("b", "ü".encode()), ("a", b""))),
        ),
        (
            '{"type": "start", "workflow": "w", "retry": {"maximum_attempts": 3}}',
            StartPlanned("w", b"[]", plan=Plan(retry=RetryOptions(1_000, 2.0, 100_000, 3))),
        ),
        (
            '{"type": "start", "workflow": "w", "start_at_ms": 1893499200000}',
            StartPlanned("w", b"[]", plan=Plan(start_at_ms=1_893_499_200_000)),
        ),
        (
            '{"type": "start", "workflow": "w", "retry": {"initial_interval_ms": 5, "coefficient":'
            ' 1, "maximum_interval_ms": 5, "non_retryable": ["Closed"]}}',
            StartPlanned("w", b"[]", plan=Plan(retry=RetryOptions(5, 1, 5, None, ("Closed",)))),
        ),
        (
            '{"type": "start", "workflow": "w", "attributes":'
            ' {"sum": 1.50, "due": {"datetime": "2027-01-31T09:00+01:00"}, "none": null}}',
            StartPlanned(
                "w",
                b"[]",
                plan=Plan(attributes=b'{"due":{"datetime":"2027-01-31T08:00:00+00:00"},"sum":1.5}'),
            ),
        ),
        ('{"type": "start", "workflow": "w", "attributes": {}}', StartRun("w", b"[]")),
        ('{"type": "event", "name": "paid"}', RaiseEvent("paid", None)),
        (
            '{"type": "event", "name": "paid", "payload": {"sum": 1.50}, "run_id": "r"}',
            RaiseEvent("paid", b'{"sum": 1.50}', "r"),
        ),
        ('{"type": "event", "name": "paid", "payload": null}', RaiseEvent("paid", b"null")),
        (
            '{"type": "event", "name": "paid", "first_run_id": "r", "headers": {"h": "1"}}',
            RaiseEvent("paid", first_run_id="r", headers=(("h", b"1"),)),
        ),
        ('{"type": "cancel"}', CancelRun()),
        ('{"type": "cancel", "reason": "late", "run_id": "r"}', CancelRun("late", "r")),
        ('{"type": "cancel", "first_run_id": "r"}', CancelRun(first_run_id="r")),
        (f'{{"type": "resolve", "promise": "{PROMISE}"}}', ResolvePromise(PROMISE)),
        (
            f'{{"type": "resolve", "promise": "{PROMISE}", "value": true}}',
            ResolvePromise(PROMISE, b"true"),
        ),
        (
            f'{{"type": "reject", "promise": "{PROMISE}", "message": "no", "details": 1}}',
            RejectPromise(PROMISE, "no", details=b"1"),
        ),
        ('{"type": "terminate", "reason": "stuck"}', TerminateRun("stuck")),
        ('{"type": "terminate", "first_run_id": "r"}', TerminateRun(first_run_id="r")),
        ('{"type": "terminate", "recursive": true}', TerminateRun()),
        ('{"type": "terminate", "recursive": false}', TerminateWith(recursive=False)),
        (
            '{"type": "terminate", "run_id": "r", "output": {"paid": 3}}',
            TerminateWith(run_id="r", output=b'{"paid": 3}'),
        ),
        ('{"type": "terminate", "output": null}', TerminateWith(output=b"null")),
    ],
)
def test_each_type_of_command(json: str, body: Request) -> None:
    assert decode_command(b"order-1", json.encode()) == ClientCommand("order-1", body)


@pytest.mark.parametrize(
    ("json", "told"),
    [
        ('{"type": "event", "name": "shipped"}', b'["shipped",null,86400000]'),
        (
            '{"type": "event", "name": "shipped", "payload": {"by": 1.50}, "keep_ms": 0}',
            b'["shipped",{"by": 1.50},0]',
        ),
    ],
)
def test_an_event_to_a_business_key_is_for_whoever_holds_it(json: str, told: bytes) -> None:
    first = RaiseEvent("deliver", told)
    body = StartWith("processor.correlation", None, "allow", "use-existing", first=first)
    key = b"correlation:shipment=S-7"
    assert decode_command(key, json.encode()) == ClientCommand(key.decode(), body)
    named = decode_command(key, f'{json[:-1]}, "key": "k"}}'.encode())
    cause = keyed("start", key.decode(), "k", msgspec.json.decode(json)["name"])
    assert named == ClientCommand(key.decode(), body, cause)


@pytest.mark.parametrize(
    ("json", "first"),
    [
        ('{"type": "event", "name": "deposit", "payload": 5}', RaiseEvent("deposit", b"5")),
        (
            '{"type": "event", "name": "deposit", "headers": {"h": "1"}}',
            RaiseEvent("deposit", headers=(("h", b"1"),)),
        ),
        (
            '{"type": "update", "id": "o-7", "name": "deposit", "arguments": [5, "x"]}',
            UpdateRun("o-7", "deposit", b'[5, "x"]'),
        ),
    ],
)
def test_an_entity_that_is_asked_need_not_be_there(json: str, first: Any) -> None:
    body = StartWith("Account", None, "allow", "use-existing", first=first)
    command = decode_command(b"@Account@ada", json.encode())
    assert (command.workflow_id, command.body) == ("@Account@ada", body)
    workflow = decode_command(b"w", json.encode())
    assert workflow == ClientCommand("w", first)
    for named in ("run_id", "first_run_id"):
        only = decode_command(b"@Account@ada", f'{json[:-1]}, "{named}": "r"}}'.encode())
        assert only == ClientCommand("@Account@ada", replace(first, **{named: "r"}))


def test_the_id_of_a_call_is_its_key() -> None:
    call = b'{"type": "update", "id": "o-7", "name": "deposit"}'
    command = decode_command(b"@Account@ada", call)
    assert command.cause == keyed("start", "@Account@ada", "call/o-7", command.body.asks_for)
    request = decode_command(b"@Account@ada", call[:-1] + b', "request_id": "r"}')
    assert request.cause == NamedRequest("r")


@pytest.mark.parametrize(
    ("key", "rest", "message"),
    [
        (b"w", '"keep_ms": 5', r"keep_ms is for events to a business key.*`\$.keep_ms`"),
        (b"correlation:a=b", '"run_id": "r"', "leave run_id and first_run_id out"),
        (b"correlation:a", '"run_id": null', "'correlation:a' is no business key"),
        (b"correlation:=b", '"keep_ms": 5', "write correlation:NAME=KEY"),
        (b"correlation:a=", '"keep_ms": 5', "write correlation:NAME=KEY"),
        (b"correlation:a=b", '"keep_ms": -1', r"`\$.keep_ms`"),
        (b"correlation:a=b", '"keep_ms": 1e30', r"`\$.keep_ms`"),
        (b"correlation:a=b", '"keep_ms": 999999999999999999', "the keep_ms is"),
    ],
)
def test_what_no_event_to_a_business_key_has_is_named(key: bytes, rest: str, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        decode_command(key, f'{{"type": "event", "name": "n", {rest}}}'.encode())


@pytest.mark.parametrize(
    ("key", "workflow", "message"),
    [
        (b"order-1", "processor.correlation", "send an event to the id of the business key"),
        (b"correlation:a=b", "processor.correlation", "ids that begin with correlation: are"),
        (b"correlation:a=b", "w", "'w' cannot be started as 'correlation:a=b'"),
        (b"order-1", "processor.schedule", "make a schedule with a client"),
        (b"schedule:report", "w", "ids that begin with schedule: are"),
    ],
)
def test_workflows_of_ours_are_not_started_by_hand(key: bytes, workflow: str, message: str) -> None:
    for more in ("", ', "arguments": [{}]', ', "cron": "@daily"'):
        with pytest.raises(SchemaMismatch, match=message):
            decode_command(key, f'{{"type": "start", "workflow": "{workflow}"{more}}}'.encode())


@pytest.mark.parametrize(("word", "rest"), [("start", '"workflow": "w"'), ("event", '"name": "w"')])
def test_a_key_is_one_of_its_workflow_id(word: str, rest: str) -> None:
    json = f'{{"type": "{word}", {rest}, "key": "k-1"}}'
    cause = decode_command(b"order-1", json.encode()).cause
    assert cause == keyed(word, "order-1", "k-1", "w")
    assert cause != decode_command(b"order-2", json.encode()).cause
    both = f'{{"type": "{word}", {rest}, "key": "k-1", "request_id": "r"}}'
    with pytest.raises(SchemaMismatch, match="give one of them"):
        decode_command(b"order-1", both.encode())


@pytest.mark.parametrize(
    ("key", "json", "workflow_id", "cause"),
    [
        (b"a", '{"type": "cancel"}', "a", None),
        (b"a", '{"type": "cancel", "request_id": ""}', "a", None),
        (
            b"a",
            '{"type": "cancel", "workflow_id": "a", "request_id": "r-1"}',
            "a",
            NamedRequest("r-1"),
        ),
        (None, '{"type": "cancel", "workflow_id": "a"}', "a", None),
        ("ü".encode(), '{"type": "cancel"}', "ü", None),
    ],
)
def test_the_key_is_the_workflow_id_and_the_request_id_says_which_request_it_is(
    key: bytes | None, json: str, workflow_id: str, cause: Cause | None
) -> None:
    assert decode_command(key, json.encode()) == ClientCommand(workflow_id, CancelRun(), cause)


@pytest.mark.parametrize(
    ("json", "message"),
    [
        (b'{"type": "start"}', "missing required field `workflow`"),
        (b'{"type": "start", "workflow": 3}', r"Expected `str`, got `int` - at `\$.workflow`"),
        (b'{"type": "start", "workflow": ""}', r"length >= 1 - at `\$.workflow`"),
        (b'{"type": "start", "workflow": "w", "arguments": {}}', r"`array` - at `\$.arguments`"),
        (b'{"type": "start", "workflow": "w", "args": []}', "unknown field `args`"),
        (b'{"type": "start", "workflow": "w", "reuse": "x"}', r"`\$.reuse`; .* allow, allow-fail"),
        (b'{"type": "start", "workflow": "w", "conflict": "x"}', "; it is one of fail, use-exist"),
        (
            b'{"type": "start", "workflow": "w", "execution_timeout_ms": 0}',
            r"`int` >= 1 - at `\$.execution_timeout_ms`",
        ),
        (b'{"type": "start", "workflow": "w", "start_at_ms": -1}', r"`\$.start_at_ms`"),
        (b'{"type": "start", "workflow": "w", "retry": 5}', r"`object | null`, .*`\$.retry`"),
        (b'{"type": "start", "workflow": "w", "retry": {"attempts": 5}}', "unknown field `attem"),
        (
            b'{"type": "start", "workflow": "w", "retry": {"maximum_attempts": 0}}',
            "maximum_attempts",
        ),
        (b'{"type": "start", "workflow": "w", "retry": {"coefficient": 0.5}}', "coefficient: 0.5"),
        (b'{"type": "event", "payload": 1}', "missing required field `name`"),
        (b'{"type": "event", "name": "n", "headers": {"h": 1}}', r"`int` - at `\$.headers"),
        (b'{"type": "cancel", "key": "k"}', "unknown field `key`"),
        (
            b'{"type": "event", "name": "n", "key": "%s"}' % (b"k" * 1_001),
            "the key has 1,001 bytes; it may have 1 to 1,000",
        ),
        (b'{"workflow": "w"}', "missing required field `type`; it is one of start, event"),
        (b'{"type": "begin"}', r"Invalid value 'begin' - at `\$.type`; it is one of start"),
        (b'{"type": "cancel", "workflow_id": "b"}', r"differs .* key 'a' - at `\$.workflow_id`"),
        (b'{"type": "cancel"', "not valid JSON: Input data was truncated"),
        (b'{"type": "event", "name": "n", "payload": {"a": tru}}', "not valid JSON"),
        (b'{"type": "event", "name": "n", "payload": "\xff"}', "not UTF-8"),
        (
            b'{"type": "event", "name": "n", "payload": ' + b"[" * 500_000 + b"]" * 500_000 + b"}",
            "not valid JSON: (maximum recursion depth|Stack overflow)",
        ),
        (
            b'{"type": "cancel", "request_id": "' + b"r" * 256 + b'"}',
            "request id has 256 bytes; it may have 1 to 255",
        ),
        (encode(ClientCommand("a", CancelRun(), NamedRequest("r" * 256))), "request id has 256"),
        (encode(ClientCommand("a", CancelRun(), ClientRequest("c" * 65, 1))), "client id has 65"),
        (
            encode(ClientCommand("a", CancelRun(), Origin(b"l" * 65, 0, 0, 0))),
            "log id of its origin has 65",
        ),
        (b"", "not a command: it begins with b''; send JSON"),
        (b"start", "not a command: it begins with b'star'; send JSON .*command.avsc"),
        (b"\xc3\x0112345678", "unknown schema fingerprint"),
        (encode(Claim("a", "b", 1, 1)), "expected a ClientCommand and found a Claim"),
    ],
)
def test_what_is_wrong_is_named(json: bytes, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        decode_command(b"a", json)


@pytest.mark.parametrize("key", [None, b""])
def test_without_a_workflow_id_nothing_can_be_done(key: bytes | None) -> None:
    with pytest.raises(SchemaMismatch, match="no workflow id; give the record a key"):
        decode_command(key, b'{"type": "cancel"}')


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match=r"key .* is not UTF-8"):
        decode_command(b"\xff", b'{"type": "cancel"}')


def test_avro_commands_come_through_as_they_are() -> None:
    cause = ClientRequest("c", 9)
    command = ClientCommand("a", StartRun("w"), cause, True, ReplyTo(1, "c", 9))
    assert decode_command(b"a", encode(command)) == command


@pytest.mark.parametrize("before", [b" ", b"\r\n\t ", b"\xef\xbb\xbf", b"\xef\xbb\xbf \n"])
def test_white_space_and_a_byte_order_mark_may_come_first(before: bytes) -> None:
    json = before + b'{"type": "cancel", "reason": "late"}\n'
    assert decode_command(b"a", json) == ClientCommand("a", CancelRun("late"))
