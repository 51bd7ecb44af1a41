"""Every program in the pages runs, and every command in them is one that the command line takes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from processor.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"(?:<!-- not run: (.+) -->\n)?```python\n(.*?)```", re.S)
BLOCKS = {
    f"{page.stem}-{number}": block
    for page in PAGES
    for number, block in enumerate(BLOCK.findall(page.read_text()), 1)
}
PROGRAMS = {name: program for name, (reason, program) in BLOCKS.items() if not reason}
NOT_RUN = {name: reason for name, (reason, _) in BLOCKS.items() if reason}

SAYS = {
    "activities-1": (
        r"lamp: shipped\n"
        r"the run is completed\n"
    ),
    "activities-2": (
        r"sent to Ada\nsent to Ada\n"
        r"processor\.activity:welcome sent to Grace \['Ada', 'Grace'\]\n"
    ),
    "activities-3": r"4\n",
    "activities-4": r"12 EUR\n",
    "children-1": r"\['books is there', 'failed: too heavy', 'van is there'\]\n",
    "children-2": r"an invoice follows: billing cannot be reached\n",
    "instances-1": r"2 are left\n",
    "events-1": r"Grace leads\nGrace gets it for 9\n",
    "events-2": r"no kitchen: no run of workflow id 'kitchen'\nsoup is ordered\n",
    "chains-1": r"28 in run 3\n36\nTrue\n",
    "cron-1": (
        r"2030-01-02 05:30:00\+00:00\n"
        r"\[\"2030-01-02T05:30:00\+00:00\",0,\"None\"\]\n"
        r"\[\"2030-01-04T05:30:00\+00:00\",10,\"the shop is closed\"\]\n"
    ),
    "schedules-1": (
        r"\"report-2030-03-29T08:00:00Z is report 1\"\n"
        r"\"report-2030-04-01T07:00:00Z is report 2\"\n"
        r"\"report-2030-03-27T08:00:00Z is report 3\"\n"
        r"\"report-2030-03-28T08:00:00Z is report 4\"\n"
        r"2030-04-02 09:00:00\+02:00 4 4\n"
    ),
    "delays-1": r"running\ntea at 10:30\nlunch at 12:00\n",
    "handlers-1": r"2\nA new bridge\? yes\n",
    "handlers-2": r"4\n11\n",
    "handlers-3": r"Hello Ada\nHello Grace\n",
    "http-1": r"1\.25 0\.0\n",
    "http-api-1": r"202 order/A-7 False\n2 lamp for 9\.50\n404 WorkflowNotFound\n",
    "connect-1": r"A-7 is paid: 12\n12\n",
    "correlation-1": (
        r"\['shipped'\]\norder-7\norder-7 holds it\n"
        r"lamp: by train, left at the door\nnobody held it\n"
    ),
    "entities-1": r"10\n3 sent to ada\n5 2\ninsufficient funds\n2\n",
    "locks-1": r"ada 13\nbob 7\ncleo 10\nholder\nTrue\nthe lock was lost\n",
    "failures-1": (
        r"the hotel is booked\nthe train is booked\nthe train is given back\n"
        r"the hotel is given back\nthe ferry is full\n"
    ),
    "promises-1": (
        r"3 mails with 1 id\nlamp: approved\ndesk: there is none left\nthe run is completed\n"
    ),
    "values-1": r"half\ndone: 4\n\['half', 4\]\n",
    "sync-1": r"A-1 is paid\nA-2 is paid\n\['order-A-2'\]\n",
    "updates-1": (
        r"1\nupdate 'add' of run \w+ of '\w+': ValueError: there is one apple already\n"
        r"thank you\n\['apple'\]\n"
    ),
    "updates-2": r"1\n2\n\['apple', 'pear', 'plum'\]\n",
    "search-1": r"\{'customer': 'ada', 'step': 'paid', 'sum': 12.5, 'tags': \['new', 'gift'\]\}\n"
    r"order-2 running 99\norder-1 running 12.5\n"
    r"\['customer', 'due', 'step', 'sum'\]\norder completed 2 \{'avg\(duration\)': 3600.\d+\}\n",
    "search-2": r"",
    "retries-1": r"imported at attempt 3, after no rates of Monday yet\nTrue\n",
    "kafka-1": r"",
    "tables-1": r"ada 12\nbob 2\n",
    "tables-2": r"",
    "views-1": r"",
    "views-2": r"",
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
    "requests-2": r"done by hand {'paid': 3}\nterminated: {'paid': 3}\n",
    "payloads-1": (
        r"charged 4111 1111\n\['4111 1111'\]\nencoded by fernet\n"
        r"the value was encoded by 'fernet', and the codecs here are: none\n"
        r"codec 'fernet' could not decode a value: InvalidToken\n"
    ),
    "payloads-2": r"\[\(1\+2j\), Fraction\(1, 3\)\]\n",
    "payloads-3": r"Hello Grace, from Ada\nEve may not run greet\n\{'greet': 1\}\n",
    "tutorial-1": r"",
    "tutorial-2": (
        r"the hotel in Rome is booked, the train to Rome is booked\n"
        r"the hotel in Oslo is given back\n2 days later\n"
    ),
}

COMMANDS = sorted(
    {
        re.split(r" [#|] ", line.strip())[0].rstrip()
        for page in (*PAGES, ROOT / "README.md", *sorted((ROOT / "examples").glob("*.py")))
        for line in page.read_text().splitlines()
        if re.match(r" *processor [a-z-]+( |$)", line) and (page.suffix == ".py" or "`" not in line)
    }
)


def test_each_program_is_known() -> None:
    assert PROGRAMS.keys() == SAYS.keys()


def test_what_is_not_run_is_counted_and_says_why() -> None:
    assert NOT_RUN == {
        "chains-2": "a part of a workflow",
        "entities-2": "a part of a class",
        "http-2": "it needs a service",
        "schedules-2": "the module of a user's",
        "tutorial-3": "needs a broker; tests/examples/test_readme.py runs the same calls on one",
    }


@pytest.mark.parametrize("name", SAYS)
def test_a_program_runs_and_says_what_its_page_tells(name: str, tmp_path: Path) -> None:
    page, _, number = name.rpartition("-")
    for before in range(1, int(number)):  # those that a reader has put into files by then
        program = PROGRAMS.get(f"{page}-{before}", "")
        if named := re.match(r"# (\w+\.py)\n", program):
            (tmp_path / named[1]).write_text(program)
    command = [sys.executable, "-c", PROGRAMS[name]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(SAYS[name], done.stdout), done.stdout


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_has_the_options_that_its_page_gives(line: str) -> None:
    parse(line)


def test_the_rule_for_commands_catches_what_it_is_for() -> None:
    assert len(COMMANDS) > 30
    for wrong in ("processor begin x", "processor start x --nonsense 1", "processor event x"):
        with pytest.raises(Exception, match=r"No such|Missing"):
            parse(wrong)


def test_the_tutorial_survives_its_kill(tmp_path: Path) -> None:
    page = (DOCS / "tutorial.md").read_text()
    run, event, result, history = re.findall(r"^processor (.* embedded:\./state .*)$", page, re.M)
    (tmp_path / "trip.py").write_text(PROGRAMS["tutorial-1"])

    def started(line: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "processor", *shlex.split(line)]
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, **how)

    killed = started(run)
    assert killed.stderr is not None and "event 'approved'" in killed.stderr.readline()
    killed.kill()
    killed.communicate(timeout=30)
    said = {line: started(line).communicate(timeout=60)[0] for line in (event, result, history)}
    assert f"```\n{said[result]}```" in page
    assert said[history].count("the hotel in Rome is booked") == 2, "once done, once in the result"


def parse(line: str) -> None:
    """Take a command line apart as the command would, and run nothing."""
    command: Any = get_command(app)
    words = shlex.split(line)[1:]
    path = "processor"
    while (inner := getattr(command, "commands", None)) is not None:
        if words and words[0] not in inner:
            words[:0] = getattr(command, "default", [])
        if not words or words[0] not in inner:
            raise LookupError(f"No such command: {path} {' '.join(words[:1])}")
        path, command = f"{path} {words[0]}", inner[words.pop(0)]
    command.make_context(path, words)
