"""Schemas are what the classes say: the committed files are, and so is each change of a class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import pytest

from processor.codec.schemas import shapes
from processor.codec.schemas.files import load, published_levels
from processor.codec.schemas.pages import filled
from processor.codec.schemas.shapes import RECORDS, classes_in, shapes_of
from processor.codec.schemas.texts import Texts
from processor.codec.schemas.writing import Written, publish
from processor.core.data.fields import LAST, Int32
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.operation import Request
from processor.core.records.turn import Claim, Positions
from processor.core.vocabulary import EVENTS, REQUESTS
from processor.errors import InvalidArgument
from tests.codec.samples import DIRECTORY


def write(directory: Path) -> Written:
    written = Written(directory)
    for path, text in written.files.items():
        path.write_text(text, encoding="utf-8")
    return written


def test_what_is_committed_is_what_the_classes_say() -> None:
    written = Written(DIRECTORY)
    assert written.untold == []
    assert [str(path) for path in written.changed()] == [], "run 'processor schemas write'"


@pytest.mark.parametrize("file", RECORDS)
def test_what_the_classes_say_is_what_was_published(tmp_path: Path, file: str) -> None:
    write(tmp_path)
    _, published = published_levels(DIRECTORY)[-1]
    name = f"{file}.avsc"
    assert load(tmp_path / name).header == load(published / name).header


def test_every_class_of_a_record_is_found_and_has_a_text() -> None:
    texts = Texts()
    found = {cls for root in RECORDS.values() for _, cls in classes_in(root)}
    assert found >= {*EVENTS, *REQUESTS, *RECORDS.values(), Positions}
    for cls in found:
        assert texts.of_type[cls.__name__]
        assert all(texts.of_field(cls.__name__, each.name) for each in shapes_of(cls))


def test_where_nobody_waits_for_a_field_its_text_is_that_of_its_type() -> None:
    texts = Texts()
    assert texts.of_field("Turn", "run_id") == texts.of_type["RunId"] == "The run."
    assert texts.of_field("Turn", "positions") == "How far each input has been read."
    assert texts.of_field("Failure", "next_delay_ms").startswith("Delay before the next attempt")
    assert texts.of_field("Caller", "run_id") == "The run that called."
    assert texts.of_type["OnlyRun"] == "Only this run of the instance; null means the latest one."


# --- what a class becomes ------------------------------------------------------------------------

Colour: TypeAlias = Literal["red", "blue"]


@frozen
class Part:
    """Not of the core, so that nobody tells what it says."""

    number: Int32


@frozen
class Whole:
    body: Annotated[Request, LAST]
    part: Part
    again: tuple[Part, ...]
    small: Int32 | None = 7
    large: int = 7
    either: Positions | Claim | None = None
    text: str = ""
    payload: bytes | None = None
    share: float = 0.5
    sure: bool = True
    names: tuple[str, ...] = ()
    headers: Headers = NO_HEADERS


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr(shapes, "RECORDS", {"whole": Whole})
    monkeypatch.setattr("processor.codec.schemas.writing.RECORDS", {"whole": Whole})
    written = write(tmp_path)
    return json.loads((tmp_path / "whole.avsc").read_text(encoding="utf-8")), written.untold


def test_types_and_defaults_are_those_of_the_class(whole: Any) -> None:
    schema, _ = whole
    assert (schema["name"], schema["namespace"]) == ("Whole", "processor.v1")
    fields = {each["name"]: (each["type"], each.get("default", ...)) for each in schema["fields"]}
    assert list(fields) == [
        *("part", "again", "small", "large", "either", "text", "payload", "share", "sure"),
        *("names", "headers", "body"),
    ]
    part, body, either = (fields.pop(name) for name in ("part", "body", "either"))
    assert part[0]["fields"] == [{"name": "number", "type": "int", "doc": ""}]
    assert part[1] == body[1] == ...
    names = [each if isinstance(each, str) else each["name"] for each in body[0]]
    assert names == [cls.__name__ for cls in REQUESTS]
    null, *branches = either[0]
    assert (null, [each["name"] for each in branches]) == ("null", ["Positions", "Claim"])
    assert fields == {
        "again": ({"type": "array", "items": "Part"}, ...),
        "small": (["null", "int"], 7),
        "large": ("long", 7),
        "text": ("string", ""),
        "payload": (["null", "bytes"], None),
        "share": ("double", 0.5),
        "sure": ("boolean", True),
        "names": ({"type": "array", "items": "string"}, []),
        "headers": ({"type": "map", "values": "bytes"}, {}),
    }


def test_what_has_no_text_is_named(whole: Any) -> None:
    _, untold = whole
    fields = {f"Whole.{each.name}" for each in shapes_of(Whole)}
    assert set(untold) == {"Whole", "Part", "Part.number"} | fields


# --- levels and pages ----------------------------------------------------------------------------


def test_a_level_is_published_once(tmp_path: Path) -> None:
    write(tmp_path)
    assert publish(tmp_path) == 1
    assert publish(tmp_path) == 0
    turn = tmp_path / "turn.avsc"
    turn.write_text(turn.read_text().replace("The activity returned.", "It returned."))
    assert publish(tmp_path) == 0, "other words are no level"
    turn.write_text(turn.read_text().replace('"RunParked"', '"RunHalted"'))
    assert publish(tmp_path) == 2
    assert {path.name for path in (tmp_path / "published" / "2").iterdir()} == {
        f"{file}.avsc" for file in RECORDS
    }


def test_a_page_has_its_parts_and_keeps_what_others_wrote() -> None:
    page = (
        "# A page\n\n<!-- commands: written by 'processor schemas write' -->\n\nold\n\n"
        "<!-- end of what 'processor schemas write' writes -->\n\nThe rest.\n"
    )
    new = filled(page, Texts())
    assert new.startswith("# A page\n\n<!--") and new.endswith("-->\n\nThe rest.\n")
    assert "old" not in new
    rows = [row for row in new.splitlines() if row.startswith("| `start` | `workflow`")]
    assert rows == ["| `start` | `workflow` | text | required | Name of the workflow |"]
    assert "| `allow`, `allow-failed`, `reject`, `use-existing` | `allow` |" in new
    assert filled(new, Texts()) == new
    assert filled("# Another\n", Texts()) == "# Another\n"
    with pytest.raises(InvalidArgument, match=r"a page has <!-- commands.* without"):
        filled(page.replace("end of", "the end of"), Texts())
