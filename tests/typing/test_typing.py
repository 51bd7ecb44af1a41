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


def mypy(case: str, folder: Path) -> set[int]:
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command += ["--python-version=3.11", f"--cache-dir={folder}", str(CASES / case)]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert not found.stderr, found.stderr
    return {int(line) for line in re.findall(rf"{case}:(\d+): error:", found.stdout)}


def pyright(case: str, folder: Path) -> set[int]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonversion=3.11"]
    command += ["--pythonpath", sys.executable, str(CASES / case)]
    found = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    report = json.loads(found.stdout)
    assert report["summary"]["filesAnalyzed"] == 1, found.stdout
    return {
        each["range"]["start"]["line"] + 1
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
@pytest.mark.parametrize("case", ["right.py", "wrong.py"])
def test_exactly_the_wrong_lines_are_errors(case: str, checker: object, tmp_path: Path) -> None:
    assert callable(checker)
    lines = (CASES / case).read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert checker(case, tmp_path) == wrong
    assert bool(wrong) == (case == "wrong.py")
