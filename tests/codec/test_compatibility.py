"""What was published stays what it was: each edit but a new branch is caught, with its field."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from processor.codec.schemas.compatibility import Problem, check
from tests.codec.samples import DIRECTORY

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def directory(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy in which what is current is also what was published, as level 1.

    Only of the ``file`` that the test is about, or of a small and a large one: each check parses
    all that are there.
    """
    callspec = getattr(request.node, "callspec", None)
    file = None if callspec is None else callspec.params.get("file")
    copy = tmp_path / "schemas"
    published = copy / "published" / "1"
    published.mkdir(parents=True)
    for each in ("claim.avsc", "turn.avsc") if file is None else (file,):
        for folder in (copy, published):
            shutil.copy(DIRECTORY / each, folder)
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


def branches(schema: Any, where: str) -> Any:
    """Return the branches of a union, also of one whose values stand in an array."""
    type = field(schema, where)["type"]
    return type["items"] if isinstance(type, dict) else type


def is_called(branch: Any, name: str) -> bool:
    return (branch if isinstance(branch, str) else branch["name"]).rpartition(".")[2] == name


def drop(where: str, name: str) -> Edit:
    def change(schema: Any) -> None:
        kept = branches(schema, where)
        kept[:] = [branch for branch in kept if not is_called(branch, name)]

    return change


def insert(where: str, at: int, new: Any) -> Edit:
    def change(schema: Any) -> None:
        held = branches(schema, where)
        held.insert(len(held) if at < 0 else at, new)

    return change


def swap(where: str) -> Edit:
    def change(schema: Any) -> None:
        held = branches(schema, where)
        held[-1], held[-2] = held[-2], held[-1]

    return change


def reorder(name: str) -> Edit:
    return lambda schema: record(schema, name)["fields"].reverse()


def redefault(where: str, default: Any) -> Edit:
    return lambda schema: field(schema, where).update(default=default)


NEW = {"type": "record", "name": "RunArchived", "fields": []}


def change_file(directory: Path, file: str, edit: Edit) -> None:
    path = directory / file
    schema = json.loads(path.read_text(encoding="utf-8"))
    edit(schema)
    path.write_text(json.dumps(schema), encoding="utf-8")


def test_our_own_schemas_are_compatible() -> None:
    assert check(DIRECTORY) == []


ADDED = "the field was added; make a new record, at the end of a union"
LOST = "the field was lost; make a new record, at the end of a union"


@pytest.mark.parametrize(
    ("file", "edit", "where", "reason"),
    [
        ("claim.avsc", add("Claim", name="host", type="string"), "Claim.host", ADDED),
        ("claim.avsc", add("Claim", name="host", type="string", default=""), "Claim.host", ADDED),
        (
            "turn.avsc",
            add("Failure", name="n", type=["null", "int"], default=None),
            "Failure.n",
            ADDED,
        ),
        ("command.avsc", add("StartRun", name="n", type="int", default=0), "StartRun.n", ADDED),
        ("claim.avsc", remove("Claim.nonce"), "Claim.nonce", LOST),
        ("claim.avsc", reorder("Claim"), "Claim", "the order of its fields changed"),
        (
            "claim.avsc",
            retype("Claim.time_ms", "string"),
            "Claim.time_ms",
            "its type changed from long to string",
        ),
        ("claim.avsc", retype("Claim.time_ms", "int"), "Claim.time_ms", "from long to int"),
        ("claim.avsc", retype("Claim.level", "long"), "Claim.level", "from int to long"),
        (
            "claim.avsc",
            retype("Claim.owner", ["string", "null"]),
            "Claim.owner",
            "from string to [string, null]",
        ),
        (
            "dead_letter.avsc",
            retype("DeadLetter.key", "bytes"),
            "DeadLetter.key",
            "the union became bytes",
        ),
        (
            "dead_letter.avsc",
            retype("DeadLetter.key", ["null", "long"]),
            "DeadLetter.key",
            "the branch bytes is not where it was; new ones go to the end",
        ),
        (
            "turn.avsc",
            retype("ActivityOptions.non_retryable", {"type": "array", "items": "int"}),
            "ActivityOptions.non_retryable",
            "from string to int",
        ),
        (
            "activity_task.avsc",
            retype("ActivityTask.headers", {"type": "map", "values": "string"}),
            "ActivityTask.headers",
            "from map to map",
        ),
        (
            "turn.avsc",
            drop("Turn.events", "RunUnparked"),
            "Turn.events",
            "the branch RunUnparked is not where it was",
        ),
        (
            "turn.avsc",
            insert("Turn.events", 0, NEW),
            "Turn.events",
            "the branch ActivityCompleted is not where it was",
        ),
        ("turn.avsc", swap("Turn.events"), "Turn.events", "is not where it was"),
        (
            "turn.avsc",
            insert("Turn.cause", 0, NEW),
            "Turn.cause",
            "the branch null is not where it was",
        ),
        (
            "timer_due.avsc",
            lambda schema: record(schema, "TimerKind")["symbols"].remove("retry"),
            "TimerDue.kind",
            "the symbols of enum TimerKind changed",
        ),
        (
            "timer_due.avsc",
            lambda schema: record(schema, "TimerKind")["symbols"].append("calendar"),
            "TimerDue.kind",
            "the symbols of enum TimerKind changed",
        ),
        (
            "activity_report.avsc",
            lambda schema: record(schema, "ReplyTo").update(name="Answer"),
            "ActivityReport.reply_to",
            "the branch ReplyTo is not where it was",
        ),
        (
            "turn.avsc",
            redefault("Turn.cause", {"id": "x"}),
            "Turn.cause",
            "its default changed",
        ),
        ("claim.avsc", redefault("Claim.owner", ""), "Claim.owner", "its default changed"),
        (
            "claim.avsc",
            lambda schema: schema.update(name="Owner"),
            "",
            "Owner (level 1 is published)",
        ),
    ],
)
def test_an_edit_of_what_was_published_names_record_and_field(
    directory: Path, file: str, edit: Edit, where: str, reason: str
) -> None:
    change_file(directory, file, edit)
    problems = [problem for problem in check(directory) if problem.level]
    assert len(problems) == 1, problems
    text = str(problems[0])
    assert text.startswith(f"{file}: {where}: " if where else f"{file}: ")
    assert reason in text
    assert text.endswith("(level 1 is published)")


def test_another_namespace_is_another_record(directory: Path) -> None:
    change_file(directory, "claim.avsc", lambda schema: schema.update(namespace="processor.v2"))
    (problem,) = check(directory)
    assert (problem.file, problem.level) == ("claim.avsc", 1)


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("turn.avsc", insert("Turn.events", -1, NEW)),
        ("turn.avsc", insert("Turn.cause", -1, NEW)),
        ("turn.avsc", insert("CallSent.operation", -1, NEW)),
        ("command.avsc", insert("ClientCommand.body", -1, NEW)),
        ("reply.avsc", insert("Reply.body", -1, NEW)),
        ("claim.avsc", lambda schema: schema.update(doc="Other words.")),
        ("turn.avsc", lambda schema: field(schema, "Failure.kind").update(doc="Other words.")),
    ],
)
def test_a_new_branch_and_other_words_pass(directory: Path, file: str, edit: Edit) -> None:
    change_file(directory, file, edit)
    assert check(directory) == []


def test_a_new_file_passes(directory: Path) -> None:
    (directory / "archived.avsc").write_text(json.dumps(NEW), encoding="utf-8")
    assert check(directory) == []


def test_two_edits_are_two_problems(directory: Path) -> None:
    change_file(directory, "turn.avsc", retype("TimerFired.id", "string"))
    change_file(directory, "turn.avsc", retype("StatusSet.value", "double"))
    assert [(p.record, p.field) for p in check(directory)] == [
        ("TimerFired", "id"),
        ("StatusSet", "value"),
    ]


def test_each_published_level_is_compared(directory: Path) -> None:
    shutil.copytree(directory / "published" / "1", directory / "published" / "2")
    change_file(directory, "claim.avsc", retype("Claim.time_ms", "boolean"))
    assert [problem.level for problem in check(directory)] == [1, 2]


def test_levels_are_compared_in_the_order_of_numbers_and_other_folders_are_none(
    directory: Path,
) -> None:
    for turn in directory.rglob("turn.avsc"):
        turn.unlink()
    for name in (*map(str, range(10, 1, -1)), "draft"):
        shutil.copytree(directory / "published" / "1", directory / "published" / name)
    change_file(directory, "claim.avsc", retype("Claim.time_ms", "boolean"))
    assert [problem.level for problem in check(directory)] == [*range(1, 11)]


def test_no_level_is_left_out(directory: Path) -> None:
    shutil.copytree(directory / "published" / "1", directory / "published" / "3")
    assert check(directory) == [Problem("published/3", "level 2 is missing before it")]


def test_a_level_has_the_schemas_of_the_one_before(directory: Path) -> None:
    second = Path(shutil.copytree(directory / "published" / "1", directory / "published" / "2"))
    (second / "turn.avsc").unlink()
    reason = "it is not among the schemas of level 2, but of the level before"
    assert check(directory) == [Problem("published/2/turn.avsc", reason)]


@pytest.mark.parametrize("branch", ["string", {"type": "array", "items": "bytes"}], ids=str)
@pytest.mark.parametrize("place", ["Turn.events", "Turn.cause"])
def test_a_new_branch_is_a_record(directory: Path, place: str, branch: Any) -> None:
    change_file(directory, "turn.avsc", insert(place, 99, branch))
    (problem,) = check(directory)
    assert "is no record" in problem.reason


def test_what_a_later_level_added_is_published_as_well(directory: Path) -> None:
    change_file(directory, "turn.avsc", insert("Turn.events", -1, NEW))
    second = Path(shutil.copytree(directory / "published" / "1", directory / "published" / "2"))
    shutil.copy(directory / "turn.avsc", second)
    assert check(directory) == []
    change_file(directory, "turn.avsc", drop("Turn.events", "RunArchived"))
    (problem,) = check(directory)
    assert (problem.level, problem.field) == (2, "events")


def test_a_removed_schema_is_a_problem(directory: Path) -> None:
    (directory / "claim.avsc").unlink()
    reason = "the schema was removed; records that were written with it are still read"
    assert check(directory) == [Problem("claim.avsc", reason, level=1)]


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
    assert "no published level in" in str(problem)
