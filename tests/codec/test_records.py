"""Records on the wire: against two other Avro libraries, and broken bytes."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.codec.compiled import Compiled, compile_schema
from processor.codec.records import LEVEL, Codec, decode, decode_as, encode
from processor.codec.schemas.shapes import RECORDS
from processor.codec.varint import varint
from processor.core.data.address import ReplyTo
from processor.core.data.cause import Origin
from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.inputs import ActivityReport, ClientCommand
from processor.core.nouns.activity import ActivityCompleted, ActivityScheduled
from processor.core.nouns.run import RunUnparked
from processor.core.nouns.stop import CancelRun
from processor.core.nouns.timer import TimerFired
from processor.core.records.answers import Accepted
from processor.core.records.effects import Reply, RunResult
from processor.core.records.turn import Claim, Positions, Turn
from processor.core.vocabulary import EVENTS
from processor.errors import SchemaMismatch, TooNew
from tests.codec.samples import (
    CLASSES,
    DIRECTORY,
    SCHEMAS,
    datum,
    plain,
    records,
    values,
)

FILES = tuple(RECORDS)
LOG = b"a log of 16 byte"
TURN = Turn(
    "order-1",
    "jkHgKjgVwtbphrqR",
    17,
    12,
    1_700_000_000_000,
    "results",
    Positions(123_456, 2_345, 34),
    1_234,
    Origin(LOG, 3, 99, 1),
    (
        ActivityCompleted(3, 1, b'{"ok":true}', (("trace", b"1"), ("", b""))),
        ActivityScheduled(
            4, "charge", b"[1]", True, ActivityOptions(non_retryable=("A", "B"), heartbeat_ms=5)
        ),
        RunUnparked(),
    ),
)


@lru_cache
def stranger(file: str) -> avro.schema.Schema:
    return avro.schema.parse((DIRECTORY / f"{file}.avsc").read_text(encoding="utf-8"))


# --- round trips and other libraries ---------------------------------------------------------


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=30)
@given(data=st.data())
def test_every_record_comes_back_and_both_other_libraries_agree(
    file: str, data: st.DataObject
) -> None:
    record = data.draw(records(file))
    encoded = encode(record)
    assert decode(encoded) == record
    assert type(decode_as(RECORDS[file], encoded)) is RECORDS[file]

    official = avro.io.DatumReader(stranger(file))
    assert official.read(avro.io.BinaryDecoder(io.BytesIO(encoded[10:]))) == plain(record)

    schema = SCHEMAS[file]
    body = io.BytesIO()
    fastavro.schemaless_writer(body, schema.parsed, datum(record, schema.parsed, schema.named))
    assert body.getvalue() == encoded[10:]


@pytest.mark.parametrize("event", EVENTS, ids=lambda cls: cls.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_every_event_comes_back_as_its_own_class(event: type, data: st.DataObject) -> None:
    named = SCHEMAS["turn"].named
    fact: Any = data.draw(values(f"processor.v1.{event.__name__}", named))
    back = decode_as(Turn, encode(replace(TURN, events=(fact,)))).events
    assert back == (fact,)
    assert type(back[0]) is event


def test_what_comes_back_is_what_a_constructor_makes() -> None:
    back = decode_as(Turn, encode(TURN))
    assert isinstance(back.positions, Positions)
    assert isinstance(back.events, tuple)
    assert hash(back.events[1]) == hash(TURN.events[1])
    assert replace(back, epoch=18).epoch == 18


def test_maps_keep_their_order_and_may_come_in_blocks_with_sizes() -> None:
    pairs = (("b", b"1"), ("a", b"2"))
    empty, one, both = (
        encode(replace(TURN, events=(ActivityCompleted(1, 1, None, headers),)))
        for headers in ((), pairs[:1], pairs)
    )
    assert decode_as(Turn, both).events == (ActivityCompleted(1, 1, None, pairs),)
    assert decode_as(Turn, empty).events == (ActivityCompleted(1, 1, None, ()),)
    end = b"\0\0"  # of the map, and of the array around it
    pair = one[len(empty) - 1 : -2]
    assert empty.endswith(end) and one.endswith(pair + end)
    sized = empty[:-2] + (bytes([0x01, 2 * len(pair)]) + pair) * 2 + end
    assert decode_as(Turn, sized).events == (
        ActivityCompleted(1, 1, None, (("b", b"1"), ("b", b"1"))),
    )


def test_arrays_may_come_in_blocks_with_sizes() -> None:
    """Java's blocking encoder writes them so: a negative count, then the size in bytes."""
    empty = encode(replace(TURN, events=()))
    assert empty.endswith(b"\0")
    one = encode(replace(TURN, events=(TimerFired(5),)))
    item = one[len(empty) : -1]
    block = bytes([0x01, 2 * len(item)]) + item
    assert decode(empty[:-1] + block + block + b"\0") == replace(
        TURN, events=(TimerFired(5), TimerFired(5))
    )


@pytest.mark.parametrize("file", FILES)
def test_the_header_is_magic_and_the_fingerprint_of_the_canonical_form(file: str) -> None:
    canonical = stranger(file).canonical_form.encode()
    empty = 0xC15D213AA4D7A795
    print_ = empty
    for byte in canonical:
        print_ ^= byte
        for _ in range(8):
            print_ = (print_ >> 1) ^ (empty if print_ & 1 else 0)
    assert SCHEMAS[file].header == b"\xc3\x01" + print_.to_bytes(8, "little")
    assert print_.to_bytes(8, "little").hex() in Codec(DIRECTORY).fingerprints


# --- classes and schemas ---------------------------------------------------------------------


def edit(path: Path, change: Any) -> None:
    schema = json.loads(path.read_text(encoding="utf-8"))
    change(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


def branch(schema: Any, field: str, name: str) -> Any:
    found = next(f for f in schema["fields"] if f["name"] == field)["type"]
    options = found["items"] if isinstance(found, dict) else found
    return next(b for b in options if isinstance(b, dict) and b["name"] == name)


def without(record: Any, *names: str) -> None:
    record["fields"] = [f for f in record["fields"] if f["name"] not in names]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DIRECTORY, tmp_path / "schemas"))


def test_import_fails_where_a_class_has_a_field_that_the_schema_lacks(directory: Path) -> None:
    edit(directory / "claim.avsc", lambda schema: without(schema, "nonce"))
    message = r"claim.avsc: field Claim.nonce of the class is not in.*schemas write"
    with pytest.raises(ImportError, match=message):
        Codec(directory)


def test_import_fails_where_a_schema_has_a_field_that_the_class_lacks(directory: Path) -> None:
    more = {"name": "host", "type": "string", "doc": "Where."}
    edit(directory / "claim.avsc", lambda schema: schema["fields"].append(more))
    with pytest.raises(ImportError, match=r"field Claim.host is not in the class.*schemas check"):
        Codec(directory)


def test_import_fails_where_a_union_lacks_a_class(directory: Path) -> None:
    def drop(schema: Any) -> None:
        items = schema["fields"][-1]["type"]["items"]
        items[:] = [b for b in items if isinstance(b, str) or b["name"] != "RunUnparked"]

    edit(directory / "turn.avsc", drop)
    with pytest.raises(ImportError, match=r"turn.avsc: class RunUnparked of Turn.events is not in"):
        Codec(directory)


def test_types_outside_of_the_subset_are_refused() -> None:
    odd = {
        "type": "record",
        "name": "Claim",
        "fields": [{"name": "owner", "type": {"type": "map", "values": "int"}}],
    }
    with pytest.raises(TypeError, match="cannot compile the Avro type"):
        compile_schema("Claim", {"Claim": odd}, {"Claim": Claim})


# --- absent is not empty ---------------------------------------------------------------------

PAYLOADS = ["null", "bytes"]
NAMES = {
    *("arguments", "payload", "result", "value", "details", "memo", "custom_status"),
    *("previous_result", "attributes", "heartbeat_details"),
}


def fields_of(file: str) -> list[tuple[str, str, Any]]:
    """Return record, name and type of each field in a schema."""
    return [
        (name, field["name"], field["type"])
        for name, schema in SCHEMAS[file].named.items()
        for field in schema.get("fields", ())
    ]


FIRST_IN = {name: file for file in reversed(FILES) for name in SCHEMAS[file].named}
"""The first of the files that has a record: all of them have the same one."""


@lru_cache
def compiled(file: str, name: str) -> Compiled:
    return compile_schema(name, SCHEMAS[file].named, CLASSES)


@pytest.mark.parametrize("file", FILES)
def test_every_payload_may_be_absent(file: str) -> None:
    assert [(r, f) for r, f, type in fields_of(file) if f in NAMES and type != PAYLOADS] == []


@pytest.mark.parametrize("file", FILES)
@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_absent_empty_and_null_come_back_as_what_they_were(file: str, data: st.DataObject) -> None:
    named = SCHEMAS[file].named
    for name, field, type in fields_of(file):
        if type == PAYLOADS and FIRST_IN[name] == file:
            code = compiled(file, name)
            sample = data.draw(values(name, named))
            for payload in (None, b"", b"null"):
                record = replace(sample, **{field: payload})
                back, _ = code.read(code.write(record, b""), 0)
                assert back == record and getattr(back, field) == payload, (name, field)


# --- errors ----------------------------------------------------------------------------------

DATA = encode(TURN)
CLAIM = Claim("owner", "nonce", 1, 1_234_567_890)
TO_ANSWER = ClientCommand("a", CancelRun(), reply_to=ReplyTo(1_000_000, "c", 1))


def wider(record: Any, number: int, instead: bytes) -> bytes:
    """Return the bytes of a record with another number in the place of one."""
    written = encode(record)
    assert written.count(varint(number)) == 1
    return written.replace(varint(number), instead)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a record of processor"),
        (b"{}", "begins with b'{}'"),
        (b"\xc3\x01abc", "a record of 5 bytes is cut"),
        (b"\xc3\x0112345678", "unknown schema fingerprint 3132333435363738: a later release"),
        (b"\xc3\x0112345678", "'processor schemas check'"),
        (DATA[:35], r"a record of 35 bytes is broken at Turn\.epoch: "),
        (DATA + b"\0", "a Turn of .* is broken: its fields take"),
        (DATA[:10] + b"\x02\xff", r"broken at Turn\.workflow_id: UnicodeDecodeError"),
        (DATA[:10] + b"\xff" * 20, r"broken at Turn\.workflow_id: .* longer than 64 bits"),
        (wider(CLAIM, CLAIM.time_ms, b"\xff" * 9 + b"\x02"), r"at Claim\.time_ms: .* than 64 bits"),
        (wider(TO_ANSWER, 1_000_000, b"\x80" * 4 + b"\x10"), r"at ReplyTo\.partition: .* than 32"),
        (
            encode(replace(TURN, events=()))[:-1] + b"\x02\x7e\0",
            r"broken at Turn\.events: KeyError",
        ),
        (encode(replace(TURN, events=()))[:-1] + b"\xfe\xff\xff\x7f", r"broken at Turn\.events"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        decode(data)


def test_every_cut_of_a_record_is_noticed() -> None:
    for end in range(len(DATA)):
        with pytest.raises(SchemaMismatch):
            decode(DATA[:end])


@settings(max_examples=300)
@given(st.sampled_from(FILES), st.binary(max_size=200))
def test_garbage_is_a_record_or_a_mismatch(file: str, garbage: bytes) -> None:
    try:
        decode(SCHEMAS[file].header + garbage)
    except SchemaMismatch:
        return


def test_only_an_unknown_fingerprint_may_be_of_a_later_release() -> None:
    with pytest.raises(TooNew, match=f"this one knows level {LEVEL}"):
        decode(b"\xc3\x0112345678" + DATA[10:])
    for data in (b"", b"{}", b"\xc3\x01abc", DATA[:30], DATA + b"\0"):
        with pytest.raises(SchemaMismatch) as raised:
            decode(data)
        assert type(raised.value) is SchemaMismatch


def test_endless_causes_are_a_mismatch_and_no_crash() -> None:
    result = RunResult("a", "b", "b", "c", "failed", None, Failure("k", "t", "m"), None, 1)
    one = encode(result)
    caused = replace(Failure("k", "t", "m"), cause=result.failure)
    two = encode(replace(result, failure=caused))
    start = one.index(b"\x02k")
    level = two[start : start + len(two) - len(one)]
    assert one[:start] + level + one[start:] == two
    with pytest.raises(SchemaMismatch, match="RecursionError"):
        decode(one[:start] + level * 100_000)


def test_a_record_of_another_kind_is_refused() -> None:
    with pytest.raises(SchemaMismatch, match=r"expected a Claim and found a Turn; .* wrong topic"):
        decode_as(Claim, DATA)


ACCEPTED = Accepted("run-1")
LOOSE: Any = SimpleNamespace(
    ActivityCompleted=ActivityCompleted,
    ActivityReport=ActivityReport,
    Claim=Claim,
    Reply=Reply,
    replace=replace,
)
"""The same classes where values of wrong types are meant."""


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (LOOSE.Claim("me", "n", 1, "now"), r"Claim\.time_ms cannot be written: TypeError"),
        (LOOSE.Claim("me", "n", 1, 5.0), r"Claim\.time_ms cannot be written: TypeError"),
        (LOOSE.Claim("me", b"n", 1, 1), r"Claim\.nonce cannot be written"),
        (LOOSE.Claim("\ud800", "n", 1, 1), r"Claim\.owner cannot be written: UnicodeEncodeError"),
        (
            LOOSE.Claim("me", "n", 1, 1 << 63),
            r"Claim\.time_ms cannot be .* does not fit into 64 bits",
        ),
        (
            LOOSE.Claim("me", "n", 1 << 31, 1),
            r"Claim\.level cannot be .* does not fit into 32 bits",
        ),
        (
            LOOSE.replace(TURN, events=(LOOSE.ActivityCompleted(1, 1 << 31, b""),)),
            r"ActivityCompleted\.attempt cannot be .* does not fit into 32 bits",
        ),
        (
            LOOSE.replace(TURN, events=(LOOSE.ActivityCompleted(1, 1, "text"),)),
            r"ActivityCompleted\.result cannot be written",
        ),
        (
            LOOSE.replace(TURN, events=(LOOSE.ActivityCompleted(1, 1, b"", (("h", "text"),)),)),
            r"ActivityCompleted\.headers cannot be written",
        ),
        (
            LOOSE.replace(TURN, events=(LOOSE.Claim("a", "b", 1, 1),)),
            r"Turn\.events cannot be written: KeyError",
        ),
        (
            LOOSE.replace(TURN, cause=LOOSE.Claim("a", "b", 1, 1)),
            r"Turn\.cause cannot be written: KeyError",
        ),
        (
            LOOSE.ActivityReport("a", "b", 1, 1, "lost"),
            r"ActivityReport\.kind cannot be written: KeyEr",
        ),
        (LOOSE.Reply(None, ACCEPTED), r"ReplyTo\.partition cannot be written: .*NoneType"),
        (LOOSE.Reply(ReplyTo(0, "c", 1), None), r"Reply\.body cannot be written: .*NoneType"),
        ("text", r"str cannot be written"),
    ],
)
def test_what_cannot_be_written_names_the_field(record: Any, message: str) -> None:
    with pytest.raises(SchemaMismatch, match=message):
        encode(record)
