"""The table of all ports: ``python -m tests.ports.table`` writes it, and the numbers of lines.

A line counts if it has code: blank lines, comments and docstrings do not.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
BEGIN = "<!-- ports: written by 'python -m tests.ports.table' -->\n\n"
END = "\n<!-- end of what 'python -m tests.ports.table' writes -->"
SECTION = re.compile(r"^# --- .*$", re.MULTILINE)
SAID = re.compile(r'"""(\S+): (\d+) lines(?:, theirs (\d+))?\. (.*?)"""', re.DOTALL)
NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip


class Port(NamedTuple):
    peer: str
    file: str
    sample: str
    ours: int
    theirs: int | None
    shows: str


def code_lines(source: str) -> int:
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            lines |= {*range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                lines -= {*range(node.lineno, (node.end_lineno or 0) + 1)}
    return len(lines)


def sections(source: str) -> list[str]:
    """Return the text before the first port, and each port."""
    cuts = [0, *(found.start() for found in SECTION.finditer(source)), len(source)]
    return [source[begin:end] for begin, end in pairwise(cuts)]


def numbered(source: str) -> str:
    """Return the source with the lines of each port counted in its docstring."""
    head, *ports = sections(source)
    return head + "".join(_counted(port) for port in ports)


def _counted(port: str) -> str:
    said = SAID.search(port)
    assert said is not None, f"{port.splitlines()[0]} has no docstring with its lines"
    return f"{port[: said.start(2)]}{code_lines(port)}{port[said.end(2) :]}"


def ports() -> Iterator[Port]:
    for path in sorted(FOLDER.glob("test_*.py")):
        source = path.read_text()
        peer = (ast.get_docstring(ast.parse(source)) or "").partition(":")[0]
        for port in sections(source)[1:]:
            said = SAID.search(port)
            assert said is not None, f"{path.name}: {port.splitlines()[0]} has no docstring"
            theirs = None if said[3] is None else int(said[3])
            shows = " ".join(said[4].split())
            yield Port(peer, path.name, said[1], int(said[2]), theirs, shows)


def table() -> str:
    found = sorted(ports(), key=lambda port: (port.peer, port.file))
    rows = [
        f"| {port.peer} | [{port.sample}]({port.file}) | {port.ours} | {port.theirs or '–'} "
        f"| {port.shows} |"
        for port in found
    ]
    both = [(port.ours, port.theirs) for port in found if port.theirs is not None]
    total = f"{sum(ours for ours, _ in both):,} | {sum(theirs for _, theirs in both):,}"
    rows.append(f"| all | {len(found)} ports; lines of the {len(both)} with both | {total} | |")
    head = ["| peer | sample | our lines | theirs | what it shows |", "|---|---|---|---|---|"]
    return "\n".join(head + rows) + "\n"


def readme() -> str:
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for each in sorted(FOLDER.glob("test_*.py")):
        each.write_text(numbered(each.read_text()))
    README.write_text(readme())
