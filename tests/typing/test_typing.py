"""What users write is checked by mypy and pyright: wrong lines are errors, right ones are not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CASES = Path(__file__).parent / "cases"
TIMEOUT_S = 170


FILES = ("right.py", "right_search.py", "wrong.py")
"""Checked together: most of the time goes into the library, which both import."""

Errors = set[tuple[str, int]]


def mypy(folder: Path) -> Errors:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command += ["--python-version=3.11", f"--cache-dir={folder}", *_paths()]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert not found.stderr, found.stderr
    errors = re.findall(r"(\w+\.py):(\d+): error:", found.stdout)
    return {(name, int(line)) for name, line in errors}


def pyright(folder: Path) -> Errors:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonversion=3.11"]
    command += ["--pythonpath", sys.executable, *_paths()]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    report = json.loads(found.stdout)
    assert report["summary"]["filesAnalyzed"] == len(FILES), found.stdout
    return {
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1)
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }


def _paths() -> list[str]:
    return [str(CASES / name) for name in FILES]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_exactly_the_wrong_lines_are_errors(checker: object, tmp_path: Path) -> None:
    assert callable(checker)
    wrong = {
        (name, number)
        for name in FILES
        for number, line in enumerate((CASES / name).read_text().splitlines(), 1)
        if line.endswith("# wrong")
    }
    assert {name for name, _ in wrong} == {"wrong.py"}
    assert checker(tmp_path) == wrong
