"""Each edit of a schema that would make old records unreadable is caught, with its field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processor.codec.compatibility import Problem, check
from tests.codec.samples import DIRECTORY

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy in which what is current is also what was published, as version 0.1.0."""
    copy = Path(shutil.copytree(DIRECTORY, tmp_path / "schemas"))
    shutil.rmtree(copy / "published")
    published = copy / "published" / "0.1.0"
    published.mkdir(parents=True)
    for path in copy.glob("*.avsc"):
        shutil.copy(path, published)
    return copy


def record(schema: Any, name: str) -> Any:
    """Find the definition of a named type anywhere in a schema."""
    if isinstance(schema, list):
        return next(filter(None, (record(part, name) for part in schema)), None)
    if not isinstance(schema, dict):
        return None
    if schema.get("name") == name and "type" in schema and schema["type"] in ("record", "enum"):
        return schema
    return record(
        [f["type"] for f in schema.get("fields", [])] + [schema.get("items"), schema["type"]], name
    )


def field(schema: Any, where: str) -> Any:
    owner, _, name = where.partition(".")
    return next(f for f in record(schema, owner)["fields"] if f["name"] == name)


def add(owner: str, **new: Any) -> Edit:
    return lambda schema: record(schema, owner)["fields"].append({"doc": "New.", **new})


def remove(where: str) -> Edit:
    owner, _, name = where.partition(".")

    def change(schema: Any) -> None:
        fields = record(schema, owner)["fields"]
        fields[:] = [f for f in fields if f["name"] != name]

    return change


def retype(where: str, new: Any) -> Edit:
    return lambda schema: field(schema, where).update(type=new)


def rename(where: str, name: str, **more: Any) -> Edit:
    return lambda schema: field(schema, where).update(name=name, **more)


def drop_event(name: str) -> Edit:
    def change(schema: Any) -> None:
        items = field(schema, "Turn.events")["type"]["items"]
        items[:] = [branch for branch in items if branch["name"] != name]

    return change


def add_event(name: str) -> Edit:
    new = {"type": "record", "name": name, "fields": []}
    return lambda schema: field(schema, "Turn.events")["type"]["items"].append(new)


def change_file(directory: Path, file: str, edit: Edit) -> None:
    path = directory / file
    schema = json.loads(path.read_text(encoding="utf-8"))
    edit(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


def test_our_own_schemas_are_compatible() -> None:
    assert check(DIRECTORY) == []


@pytest.mark.parametrize(
    ("file", "edit", "where", "reason"),
    [
        ("claim.avsc", add("Claim", name="host", type="string"), "Claim.host", "without a default"),
        ("turn.avsc", add("Failure", name="n", type="int"), "Failure.n", "without a default"),
        ("reply.avsc", add("ReplyTo", name="n", type="int"), "ReplyTo.n", "without a default"),
        ("turn.avsc", add("TimerFired", name="n", type="int"), "TimerFired.n", "without a default"),
        ("claim.avsc", rename("Claim.nonce", "once"), "Claim.once", "rename by an alias"),
        (
            "claim.avsc",
            retype("Claim.time_ms", "string"),
            "Claim.time_ms",
            "type changed from long to string",
        ),
        ("claim.avsc", retype("Claim.time_ms", "int"), "Claim.time_ms", "from long to int"),
        (
            "turn.avsc",
            retype("ActivityCompleted.id", "string"),
            "ActivityCompleted.id",
            "from long to string",
        ),
        (
            "dead_letter.avsc",
            retype("DeadLetter.key", "bytes"),
            "DeadLetter.key",
            "bytes does not read null, as it did",
        ),
        (
            "dead_letter.avsc",
            retype("DeadLetter.key", ["null", "long"]),
            "DeadLetter.key",
            "branch bytes was removed",
        ),
        (
            "turn.avsc",
            retype("ActivityOptions.non_retryable", {"type": "array", "items": "int"}),
            "ActivityOptions.non_retryable",
            "from string to int",
        ),
        (
            "turn.avsc",
            drop_event("RunParked"),
            "Turn.events",
            "branch record RunParked was removed",
        ),
        (
            "timer_due.avsc",
            lambda schema: record(schema, "TimerKind")["symbols"].remove("retry"),
            "TimerDue.kind",
            "symbol 'retry' was removed from the enum TimerKind",
        ),
        (
            "activity_report.avsc",
            lambda schema: record(schema, "ReplyTo").update(name="Answer"),
            "ActivityReport.reply_to",
            "branch record ReplyTo was removed",
        ),
        (
            "claim.avsc",
            lambda schema: schema.update(namespace="processor.v2"),
            "Claim",
            "renamed to processor.v2.Claim",
        ),
    ],
)
def test_an_incompatible_edit_names_record_and_field(
    directory: Path, file: str, edit: Edit, where: str, reason: str
) -> None:
    change_file(directory, file, edit)
    problems = check(directory)
    assert len(problems) == 1, problems
    text = str(problems[0])
    assert text.startswith(f"{file}: {where}: ")
    assert reason in text
    assert text.endswith("(cannot read what version 0.1.0 wrote)")


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("claim.avsc", add("Claim", name="host", type="string", default="")),
        ("turn.avsc", add("Failure", name="n", type=["null", "int"], default=None)),
        ("claim.avsc", remove("Claim.nonce")),
        ("claim.avsc", rename("Claim.nonce", "once", aliases=["nonce"])),
        ("turn.avsc", retype("ActivityCompleted.attempt", "long")),
        ("claim.avsc", retype("Claim.owner", ["null", "string"])),
        ("turn.avsc", add_event("RunArchived")),
        (
            "timer_due.avsc",
            lambda schema: record(schema, "TimerKind")["symbols"].append("calendar"),
        ),
        ("claim.avsc", lambda schema: schema.update(doc="Other words.")),
    ],
)
def test_a_compatible_edit_passes(directory: Path, file: str, edit: Edit) -> None:
    change_file(directory, file, edit)
    assert check(directory) == []


def test_two_edits_are_two_problems(directory: Path) -> None:
    change_file(directory, "turn.avsc", retype("TimerFired.id", "string"))
    change_file(directory, "turn.avsc", retype("StatusSet.value", "double"))
    assert [(p.record, p.field) for p in check(directory)] == [
        ("TimerFired", "id"),
        ("StatusSet", "value"),
    ]


def test_each_published_version_is_compared(directory: Path) -> None:
    shutil.copytree(directory / "published" / "0.1.0", directory / "published" / "0.2.0")
    change_file(directory, "claim.avsc", retype("Claim.time_ms", "boolean"))
    assert [problem.version for problem in check(directory)] == ["0.1.0", "0.2.0"]


def test_a_removed_schema_is_a_problem(directory: Path) -> None:
    (directory / "claim.avsc").unlink()
    assert check(directory) == [
        Problem(
            "claim.avsc",
            "the schema was removed; records that were written with it are still read",
            version="0.1.0",
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"type": "recrod", "name": "Claim"}',
        '{"type": "record", "name": "Claim"}',
        '"Unknown"',
    ],
)
def test_a_schema_that_does_not_parse_is_a_problem(directory: Path, text: str) -> None:
    (directory / "claim.avsc").write_text(text, encoding="utf-8")
    (problem,) = check(directory)
    assert str(problem).startswith("claim.avsc: it is not a valid Avro schema: ")


def test_without_published_schemas_there_is_nothing_to_compare_with(directory: Path) -> None:
    shutil.rmtree(directory / "published")
    (problem,) = check(directory)
    assert "no published version in" in str(problem)
