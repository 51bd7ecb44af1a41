"""A later release, for the test of two releases: this one, with the next level of the format.

That level has a new event, for ``workflow.note`` in workflow code, and a new command, which a
client of that release sends. Everything else is this checkout. Its schemas are what its own
``processor schemas write --publish`` makes of its classes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ("later_release",)

ROOT: Final = Path(__file__).parents[2]
_COPIED: Final = ("processor", "tests", "examples", "schemas", "topics", "pyproject.toml")

_WORKFLOW: Final = '''

@workflow.define
async def takes_note(text: str) -> str:
    """Goes on only where the namespace has the next level."""
    workflow.note(text)
    return text
'''

_CHANGES: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "core/nouns/value.py",
        "@frozen\nclass StatusSet(Decision):",
        '@frozen\nclass NoteTaken(Decision):\n    """The code took a note."""\n\n    text: str\n'
        '    """The note."""\n\n'
        "    def apply(self, run: Values, now_ms: int) -> None:\n        pass\n\n\n"
        "@frozen\nclass StatusSet(Decision):",
    ),
    (
        "core/vocabulary.py",
        "    StatusSet,\n    ValueSet,\n)",
        "    NoteTaken,\n    StatusSet,\n    ValueSet,\n)",
    ),
    (
        "core/vocabulary.py",
        ')\n"""Append-only: the place of an event',
        '    NoteTaken,\n)\n"""Append-only: the place of an event',
    ),
    (
        "core/nouns/external.py",
        "class Latest(Protocol):",
        "@frozen\nclass NoteRun(OperationOnRun):\n"
        '    """Tell a run something, as an event with the name note."""\n\n    text: str\n'
        '    """The note."""\n    run_id: OnlyRun = None\n    first_run_id: OnlyChain = None\n\n'
        "    def decide(self, draft: Drafting, latest: Latest) -> ReplyBody | None:\n"
        "        draft.advance(EventReceived('note', self.text.encode()))\n"
        "        return None\n\n\n"
        "class Latest(Protocol):",
    ),
    (
        "core/vocabulary.py",
        "import EventReceived, EventRejected, RaiseEvent",
        "import EventReceived, EventRejected, NoteRun, RaiseEvent",
    ),
    (
        "core/vocabulary.py",
        ')\n"""All that can be asked',
        '    NoteRun,\n)\n"""All that can be asked',
    ),
    (
        "workflow/_nouns/value.py",
        "    SideEffectRecorded,\n    StatusSet,",
        "    NoteTaken,\n    SideEffectRecorded,\n    StatusSet,",
    ),
    (
        "workflow/_nouns/value.py",
        "def set_status(value: Any) -> None:",
        "def note(text: str) -> None:\n"
        "    decisions = current('note').decisions\n"
        "    decisions.add(NoteTaken(text), line_here(), len(text), 'a note')\n\n\n"
        "def set_status(value: Any) -> None:",
    ),
    (
        "workflow/__init__.py",
        "import (\n    set_status,",
        "import (\n    note,\n    set_status,",
    ),
)
"""File of the package, what stands there once, and what stands there in the later release."""


def later_release(folder: Path) -> Path:
    """Make the later release in a folder; processes that are started there run it."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "recorded")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    for file, before, after in _CHANGES:
        path = folder / "processor" / file
        text = path.read_text()
        assert text.count(before) == 1, f"{file} has {before!r} {text.count(before)} times"
        path.write_text(text.replace(before, after))
    write = (sys.executable, "-m", "processor", "schemas", "write", "--publish")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run(write, cwd=folder, env=environment, check=True, capture_output=True)
    probes = folder / "tests" / "kafka" / "probes.py"
    text = probes.read_text()
    assert text.count("PROBES = [") == 1, "the list of workflows is where it was"
    with_it = f"{_WORKFLOW}\n\nPROBES = [\n    takes_note,"
    probes.write_text(text.replace("PROBES = [", with_it.lstrip("\n")))
    return folder
