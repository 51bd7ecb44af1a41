"""What ``docs/translation.md`` calls a word of ours is one: it can be imported, or called."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import processor
from processor import testing
from processor.activity import Options
from processor.cli.app import app

PAGE = (Path(__file__).parents[2] / "docs" / "translation.md").read_text()
PROSE = {
    "await f(x)",
    "cancellation",
    "async def",
    "async with Worker(...)",
    "def",
    "default.commands",
    "embedded:./state",
    "lost",
    "nondeterminism",
    "parent_close",
    "timedelta",
}
"""What stands in a right column and is no name."""

ROWS = [
    line.strip("| ").split(" | ", 1) for line in PAGE.splitlines() if re.match(r"\| (?!---)", line)
]
WORDS = sorted({word for _, ours in ROWS for word in re.findall(r"`([^`]+)`", ours)} - PROSE)


def test_the_page_has_a_table_for_each_of_the_four() -> None:
    heads = [theirs for theirs, ours in ROWS if ours == "here"]
    assert [head.split()[0].strip(",") for head in heads] == [
        "elsewhere",
        "Temporal",
        "Durable",
        "Restate",
        "DBOS",
    ]
    assert len(ROWS) > 90
    assert {word for word in PROSE if f"`{word}`" in PAGE} == PROSE


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_ours_exists(word: str) -> None:
    exists(word)


def test_the_rule_catches_what_it_is_for() -> None:
    for wrong in (
        "workflow.child",
        "processor begin",
        "Client.start(when=1)",
        "asyncio.nothing",
    ):
        with pytest.raises((AttributeError, LookupError, TypeError)):
            exists(wrong)


def exists(word: str) -> None:
    """Raise an error unless a word names something, with the arguments that it gives."""
    if word.startswith("processor "):
        command: Any = get_command(app)
        for each in word.split()[1:]:
            command = command.commands[each]
        return
    node = ast.parse(word, mode="eval").body
    call = node if isinstance(node, ast.Call) else None
    found = named(ast.unparse(call.func if call else node))
    if call is None:
        return
    parameters = inspect.signature(found).parameters
    takes = set(parameters)
    if any(each.annotation == "Unpack[Options]" for each in parameters.values()):
        takes |= set(Options.__annotations__)
    if unknown := {each.arg for each in call.keywords} - takes:
        raise TypeError(f"{word}: it does not take {unknown}")


def named(path: str) -> Any:
    first, *rest = path.split(".")
    found: Any = {"asyncio": asyncio, "testing": testing}.get(first) or getattr(processor, first)
    for each in rest:
        found = getattr(found, each)
    return found
