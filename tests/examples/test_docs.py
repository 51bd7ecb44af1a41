"""Every program in the user pages runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PROGRAMS = {
    f"{page.stem}-{number}": program
    for page in sorted(DOCS.glob("*.md"))
    for number, program in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S), 1)
}

SAYS = {
    "activities-1": r"12 EUR\n",
    "replay-1": r"parked run \w+ of \w+: ActivityScheduled\(id=1, name='double'\) has other "
    r"arguments at replay at .*: \$\[0\] was 1 and is 2\n",
    "told-1": (
        r"ZeroDivisionError: division by zero\n"
        r"run \w+ of 'b' is running; waits at <string>:\d+ waits, event 'go', and nothing "
        r"is left that could wake it\n"
    ),
    "testing-1": r"(12 EUR, then no more\n31 days\n){2}",
    "testing-2": r"attempt 2 imported 3\n\[8, 9, 10\]\n3\n",
    "requests-1": (
        r"refused: workflow id 'order-7' is taken by run \w+ \(running\); conflict policy is 'fail'"
        r"\. To get that run: conflict=\"use-existing\" \(--conflict use-existing on the command "
        r"line\); to end it and begin anew: conflict=\"terminate\" \(--conflict terminate\)"
        r"\nthe same run: True"
        r"\nnot taken: the latest run of workflow id 'order-7' is not of the chain that began .*"
        r"\nGrace says yes\n"
    ),
}


def test_each_program_is_known() -> None:
    assert PROGRAMS.keys() == SAYS.keys()


@pytest.mark.parametrize("name", SAYS)
def test_a_program_runs_and_says_what_its_page_tells(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAMS[name]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(SAYS[name], done.stdout), done.stdout
