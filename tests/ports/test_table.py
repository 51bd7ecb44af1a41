"""The table of ports is what the ports say, and their numbers are what they are."""

from __future__ import annotations

from tests.ports.table import FOLDER, README, code_lines, numbered, readme

AGAIN = "run: python -m tests.ports.table"


def test_numbers_are_counted() -> None:
    for path in FOLDER.glob("test_*.py"):
        assert path.read_text() == numbered(path.read_text()), AGAIN
    assert README.read_text() == readme(), AGAIN


def test_lines_of_code() -> None:
    assert code_lines('"""A text."""\n\n# a comment\nx = """two\nlines"""\n') == 2
