"""Commands against an embedded server, exit codes, JSON, and how quickly help comes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import COMMAND, Invoke, clean_environment, embedded

WAITING = '{"id": "A-2", "amount": 5000, "follow_up_s": 0.01}'
HEAVY = ("msgspec", "fastavro", "rocksdict", "confluent_kafka", "avro", "yaml")
GROUPS = ("topics", "tables", "schemas", "activity", "promise")
COMMANDS = (
    *("demo", "dev", "worker", "start", "run", "event", "signal", "query"),
    *("result", "start-now", "cancel", "terminate"),
    *("activity ls", "activity complete", "activity fail", "activity heartbeat"),
    *("activity pause", "activity resume", "activity retry-now", "activity reset", "activity set"),
    *("promise resolve", "promise reject"),
    *("describe", "history", "list", "count", "topics plan", "topics apply", "topics check"),
    *("topics dead-letters list", "topics dead-letters replay"),
    *("tables list", "tables get", "tables scan", "schemas check", "schemas write"),
)


def test_an_order_from_start_to_history(invoke: Invoke, tmp_path: Path) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    started = invoke("start", "order_processing", WAITING, "--id", "A-2", "--json", *where)
    assert json.loads(started.stdout)["workflow_id"] == "A-2"
    assert "waiting" in invoke("describe", "A-2", *where).stdout
    listed = invoke("list", "--status", "running", "--json", *where)
    assert [json.loads(line)["workflow_id"] for line in listed.stdout.splitlines()] == ["A-2"]
    sent = invoke("event", "A-2", "fraudReviewApproved", "true", *where)
    assert sent.stdout == "sent fraudReviewApproved to A-2\n"
    result = invoke("result", "A-2", "--timeout", "20", *where)
    assert result.stdout == "Order processing completed successfully!\n"
    history = invoke("history", "A-2", *where).stdout.splitlines()
    assert history[0].split() == ["#", "TIME", "TYPE", "WHAT"]
    assert history[-1].endswith("Order processing completed successfully!")
    events = [
        json.loads(line) for line in invoke("history", "A-2", "--json", *where).stdout.splitlines()
    ]
    assert [event["number"] for event in events] == list(range(len(history) - 1))
    described = json.loads(invoke("describe", "A-2", "--json", *where).stdout)
    assert described["status"] == "completed"
    assert described["events"] == len(events)


def test_cancel_and_terminate(invoke: Invoke, tmp_path: Path) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    for id, request, status in (("A-3", "terminate", "terminated"), ("A-4", "cancel", "cancelled")):
        invoke("start", "order_processing", WAITING, "--id", id, *where)
        done = invoke(request, id, "--reason", "a test", "--json", *where)
        told = {"workflow_id": id, "requested": request, "applied": True, "status": status}
        assert json.loads(done.stdout) == told
        result = invoke("result", id, "--json", *where)
        assert result.exit_code == 1
        assert json.loads(result.stdout)["status"] == status


def test_an_output_of_a_run_that_is_terminated(invoke: Invoke, tmp_path: Path) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    invoke("start", "order_processing", WAITING, "--id", "A-3", *where)
    wrong = invoke("terminate", "A-3", "--output", "{paid", *where)
    assert wrong.exit_code == 2
    assert "is no JSON" in wrong.stderr
    invoke("terminate", "A-3", "--reason", "by hand", "--output", '{"paid": 3}', *where)
    result = invoke("result", "A-3", *where)
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"paid": 3})
    assert result.stderr.endswith("was terminated: by hand\n")
    told = json.loads(invoke("result", "A-3", "--json", *where).stdout)["error"]
    assert (told["reason"], told["output"]) == ("by hand", {"paid": 3})
    described = invoke("describe", "A-3", *where).stdout
    assert 'output:           {"paid":3}' in described
    assert json.loads(invoke("describe", "A-3", "--json", *where).stdout)["result"] == {"paid": 3}
    assert "OutputSet" in invoke("history", "A-3", *where).stdout


def test_a_failed_workflow_is_exit_code_1(invoke: Invoke, tmp_path: Path) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    order = '{"id": "A-5", "amount": 1, "payment_failures": 9, "payment_retry_s": 0.01}'
    failed = invoke("run", "order_processing", order, "--id", "A-5", *where)
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert failed.stderr.endswith("Payment provider is down\n")
    told = invoke("result", "A-5", "--json", *where)
    assert told.exit_code == 1
    error = {"type": "ApplicationError", "message": "Payment provider is down"}
    assert json.loads(told.stdout)["error"] == error


def test_what_is_refused_is_exit_code_3(invoke: Invoke, finished_order: str) -> None:
    where = embedded(finished_order)
    missing = invoke("describe", "nobody", *where)
    assert missing.exit_code == 3
    there = f"in namespace 'default' at {finished_order}"
    assert missing.stderr == f"error: no run of workflow id 'nobody', {there}\n"
    again = invoke("start", "order_processing", WAITING, "--id=A-1", "--reuse=reject", *where)
    assert again.exit_code == 3
    assert "A-1" in again.stderr
    unknown = invoke("start", "no_such_workflow", *where)
    assert unknown.exit_code == 3
    assert "no_such_workflow" in unknown.stderr


def test_no_broker_is_exit_code_4(invoke: Invoke) -> None:
    for command in (("list",), ("topics", "check")):
        done = invoke(*command, "--server", "127.0.0.1:1")
        assert done.exit_code == 4, done.output
        assert "127.0.0.1:1" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense",), "nonsense"),
        (("start",), "WORKFLOW"),
        (("start", "w", "{"), "is no JSON"),
        (("start", "w", "--server", "embedded:"), "embedded:PATH"),
        (("start", "w", "--namespace", "a b"), "cannot begin the name of a topic"),
        (("list", "--namespace", "a.activities.b"), "those of queues of namespace"),
        (("start", "w", "--server", "embedded:x"), "add --module MODULE"),
        (("topics", "plan", "--replies", "a b"), "no topic of replies can be named"),
        (("list", "--server", "http://localhost:1", "--replies", "a"), "leave it out"),
        (
            ("list", "--server", "localhost:1", "--replies", "a/b"),
            "no topic of replies can be named",
        ),
        (("start", "w", "--server", "localhost:1", "-m", "examples.orders"), "--module is for"),
        (("start", "w", "--reuse", "maybe"), "maybe"),
        (
            ("start", "w", "--attempts", "2147483648"),
            "'--attempts': Input should be less than or equal",
        ),
        (("run", "w", "--attempts", "0"), "'--attempts': Input should be greater than or"),
        (("list", "--status", "happy"), "happy"),
        (("worker", "no.such.module"), "there is no module 'no.such.module'"),
        (("worker", "json"), "no workflow and no activity in there"),
        (("worker", "broken"), "cannot be imported: ZeroDivisionError"),
        (("worker", "twice", "--server", "embedded:x"), "have the name 'same'"),
        (("worker", "examples.orders", "--processes=2", "-s", "embedded:x"), "--processes out"),
        (("worker", "examples.orders", "--no-shards", "-s", "embedded:x"), "--no-shards"),
        (("demo", "--client-only"), "Kafka --server"),
        (("list", "--kafka-config", "nowhere"), "--kafka-config nowhere cannot be read"),
        (("list", "--kafka-config", "broken.py"), "broken.py, line 1 is no property"),
        (("tables", "list"), "no state tables in processor-state"),
        (("start", "w", "--id", ""), "'--id': give an id of 1 to 1,000 bytes"),
        (("start", "", "--id", "x"), "'WORKFLOW': give a name of 1 to 1,000 bytes"),
        (("run", "w", "--execution-timeout", "0"), "'--execution-timeout': give a duration"),
        (("start", "w", "--execution-timeout", "-5"), "'--execution-timeout': give 0 s to"),
        (("result", "x", "--timeout", "-1"), "'--timeout': give 0 s to 4,000 years"),
        (("event", "c1", ""), "'NAME': give a name of 1 to 1,000 bytes"),
        (("event", "", "n"), "'ID': give an id of 1 to 1,000 bytes"),
        (("cancel", "x", "--reason", "r" * 100_001), "'--reason': give text of 0 to 100,000"),
        (("describe", "x", "--run-id", ""), "'--run-id': give a name"),
        (("list", "--workflow", ""), "'--workflow': give a name"),
        (("list", "--server", "a:b@c:1"), "in the file of --kafka-config"),
        (("worker", "examples.orders", "--queues", " ,"), "--queues: name one or more"),
        (("worker", "methods"), "put at the top of the module: charge = Bank(...).charge"),
        (("worker", "methods"), "workflow 'pays' at"),
        (("worker", "klass"), "class Order needs one method under @workflow.run"),
        (("query", "x", ""), "'NAME': give a name of 1 to 1,000 bytes"),
        (("signal", "x", "n", "{"), "JSON"),
        (("query", "x", "n", "--reject", "open"), "'--reject'"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "twice.py").write_text(
        "from processor import activity\n"
        "@activity.define(name='same')\n"
        "async def one() -> None: ...\n"
        "@activity.define(name='same')\n"
        "async def two() -> None: ...\n"
    )
    (tmp_path / "methods.py").write_text(
        "from processor import activity, workflow\n"
        "class Bank:\n"
        "    @activity.define\n"
        "    async def charge(self) -> None: ...\n"
        "    @workflow.define\n"
        "    async def pays(self) -> None: ...\n"
    )
    (tmp_path / "klass.py").write_text(
        "from processor import workflow\n"
        "@workflow.define\n"
        "class Order:\n"
        "    async def run(self) -> None: ...\n"
    )
    done = invoke(*arguments)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_signals_and_queries(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "committee.py").write_text(
        "from processor import workflow\n"
        "@workflow.define\n"
        "class Committee:\n"
        "    def __init__(self) -> None:\n"
        "        self.votes = []\n"
        "    @workflow.run\n"
        "    async def run(self, needed: int) -> list[str]:\n"
        "        await workflow.wait_until(lambda: len(self.votes) >= needed)\n"
        "        return self.votes\n"
        "    @workflow.signal\n"
        "    def vote(self, who: str, times: int = 1) -> None:\n"
        "        self.votes += [who] * times\n"
        "    @workflow.query\n"
        "    def standing(self, first: int = 10) -> list[str]:\n"
        "        return self.votes[:first]\n"
    )
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "committee")
    invoke("start", "Committee", "4", "--id", "c", *where)
    sent = invoke("signal", "c", "vote", '"Ada"', "2", *where)
    assert sent.stdout == "sent vote to c\n"
    assert invoke("query", "c", "standing", *where).stdout == '["Ada","Ada"]\n'
    answer = json.loads(invoke("query", "c", "standing", "1", "--json", *where).stdout)
    assert answer == {"workflow_id": "c", "query": "standing", "answer": ["Ada"]}
    wrong = invoke("query", "c", "none", *where)
    assert wrong.exit_code == 3
    assert "no query 'none'; the workflow has: 'standing'" in wrong.stderr
    invoke("signal", "c", "vote", '["Grace", 2]', *where)
    assert invoke("result", "c", "--timeout", "20", *where).stdout == (
        '["Ada","Ada","Grace","Grace"]\n'
    )
    refused = invoke("query", "c", "standing", "--reject", "not-open", *where)
    assert refused.exit_code == 3
    assert "is completed, which reject='not-open' excludes" in refused.stderr
    assert invoke("query", "c", "standing", "2", *where).stdout == '["Ada","Ada"]\n'


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(invoke: Invoke, command: str) -> None:
    done = invoke(*command.split(), "--help")
    assert done.exit_code == 0
    assert "--json" in done.stdout


def test_help_names_the_exit_codes_and_every_command(invoke: Invoke) -> None:
    text = " ".join(invoke("--help").stdout.split())
    assert "4 nobody answered" in text
    for command in COMMANDS:
        assert command.split()[0] in text


def test_schemas_check(invoke: Invoke, tmp_path: Path) -> None:
    assert "read everything that was released" in invoke("schemas", "check").stdout
    told = json.loads(invoke("schemas", "check", "--json").stdout)
    assert told["problems"] == []
    assert told["fingerprints"]
    (tmp_path / "turn.avsc").write_text("{}")
    broken = invoke("schemas", "check", "--directory", str(tmp_path), "--json")
    assert broken.exit_code == 1
    assert json.loads(broken.stdout)["problems"]


def test_schemas_write(invoke: Invoke, tmp_path: Path) -> None:
    where = ("--directory", str(tmp_path))
    assert str(tmp_path / "turn.avsc") in invoke("schemas", "write", *where).stdout
    assert "level 1 is published" in invoke("schemas", "write", "--publish", *where).stdout
    assert "nothing is published" in invoke("schemas", "write", "--publish", *where).stdout
    claim = tmp_path / "claim.avsc"
    claim.write_text(claim.read_text().replace("nonce", "once"))
    told = invoke("schemas", "write", "--check", *where)
    assert told.exit_code == 1
    assert '-      "name": "once",\n+      "name": "nonce",\n' in told.stdout
    assert "run 'processor schemas write'" in told.stdout
    told = invoke("schemas", "write", "--json", *where)
    assert told.exit_code == 0 and json.loads(told.stdout) == {
        "directory": str(tmp_path),
        "changed": [str(claim)],
        "untold": [],
        "problems": [],
        "published": None,
    }
    assert invoke("schemas", "write", "--check", *where).exit_code == 0


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("published/1/turn.avsc", b"{", "published/1/turn.avsc: it is not a valid Avro schema"),
        ("published/1/turn.avsc", b"\xff", "published/1/turn.avsc: it is not a valid Avro schema"),
        ("published/1/turn.avsc", b"[" * 99_999, "turn.avsc: it is not a valid Avro schema"),
        ("published/1/turn.avsc", b"[]", "turn.avsc: the union became Turn (level 1 is published)"),
        ("published/99/text", b"", "published/99: level 2 is missing before it"),
    ],
)
def test_nothing_is_published_beside_what_is_broken(
    invoke: Invoke, tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    where = ("--directory", str(tmp_path))
    invoke("schemas", "write", "--publish", *where)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    told = invoke("schemas", "write", "--publish", *where)
    assert (told.exit_code, sorted(tmp_path.rglob("*"))) == (1, before), told.output
    assert said in told.stdout
    assert told.stdout.endswith("nothing is published: mend these first\n")
    told = invoke("schemas", "write", "--publish", "--json", *where)
    found = json.loads(told.stdout)
    assert (len(found["problems"]), found["published"]) == (1, None)


def test_a_schema_that_is_no_text_is_written_anew(invoke: Invoke, tmp_path: Path) -> None:
    where = ("--directory", str(tmp_path))
    invoke("schemas", "write", *where)
    (tmp_path / "turn.avsc").write_bytes(b"\xff\n")
    told = invoke("schemas", "write", "--check", *where)
    assert told.exit_code == 1 and "-\\udcff\n" in told.stdout
    assert invoke("schemas", "write", *where).stdout == f"wrote {tmp_path / 'turn.avsc'}\n"
    assert invoke("schemas", "write", "--check", *where).exit_code == 0
    both = invoke("schemas", "write", "--check", "--publish", *where)
    assert both.exit_code == 2 and "leave one of them out" in both.stderr
    assert not (tmp_path / "published").exists()


def test_schemas_without_their_texts_are_not_written(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.codec.schemas.texts._plain", lambda text: "")
    told = invoke("schemas", "write", "--publish", "--directory", str(tmp_path))
    assert told.exit_code == 1
    assert "Claim.nonce has no text: write what it says in its class" in told.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        f"import sys, processor.cli\nprint([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "[]\n"


def test_a_state_directory_in_use_is_refused(finished_order: str, tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [*COMMAND, "worker", "examples.orders", "--server", finished_order],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
    )
    try:
        assert worker.stderr is not None
        assert any("is ours" in line for line in worker.stderr)
        second = subprocess.run(
            [*COMMAND, "list", *embedded(finished_order)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=clean_environment(),
            timeout=30,
        )
        assert second.returncode == 3
        assert "is held by another process" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        worker.terminate()
        worker.communicate(timeout=30)
    assert worker.returncode == 0


STUCK = """
from datetime import timedelta
from processor import RetryPolicy, activity, workflow

@activity.define(retry=RetryPolicy(initial_interval=timedelta(hours=1)))
async def charge(order: str) -> None:
    activity.heartbeat({"done": 3})
    raise ValueError("the bank is closed")

@activity.define(eager=False, queue="default")
async def prints(order: str) -> None: ...

@workflow.define
async def pays(order: str) -> None:
    import asyncio
    await asyncio.gather(charge(order), asyncio.sleep(7200))
"""


def test_describe_shows_activities_in_words(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "stuck_code.py").write_text(STUCK)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "stuck_code")
    invoke("start", "pays", '"A-1"', "--id=A-1", *where)
    shown = invoke("describe", "A-1", *where).stdout
    lines = [line for line in shown.splitlines() if line.startswith(("activity:", " "))]
    assert re.match(r"activity: +#\d+ charge, attempt 1: is tried again 2\d{3}-", lines[0]), shown
    assert any("1 failed, the last with ValueError: the bank is closed" in each for each in lines)
    assert re.search(r"^timer: +#\d+, due 2\d{3}-", shown, re.M)
    assert "{" not in "".join(lines).replace('{"done":3}', "")
    told = json.loads(invoke("describe", "A-1", "--json", *where).stdout)
    assert told["pending"]["activities"][0]["name"] == "charge"


def test_the_reason_of_an_end_is_shown(invoke: Invoke, tmp_path: Path) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    invoke("start", "order_processing", WAITING, "--id=A-9", *where)
    invoke("terminate", "A-9", "--reason", "a double order", *where)
    assert re.search(r"^reason: +a double order$", invoke("describe", "A-9", *where).stdout, re.M)
    failed = invoke("result", "A-9", *where)
    assert failed.stderr.endswith("was terminated: a double order\n")


@pytest.mark.parametrize(
    "command", [("dead-letters", "list"), ("dead-letters", "replay", "1"), ("plan",), ("check",)]
)
def test_an_embedded_folder_has_no_topics(invoke: Invoke, command: tuple[str, ...]) -> None:
    done = invoke("topics", *command, "--server", "embedded:here")
    assert done.exit_code == 3
    text = " ".join(done.output.split())
    assert "without topics" in text
    assert "processor history ID --server embedded:here" in text


@pytest.mark.parametrize("text", ["[" * 200_000 + "]" * 200_000, "9" * 5_000, "{" * 5_000])
@pytest.mark.parametrize("command", ["start", "event"])
def test_json_that_cannot_be_read_is_wrong_usage(invoke: Invoke, command: str, text: str) -> None:
    target = ("order_processing", text) if command == "start" else ("A-1", "go", text)
    done = invoke(command, *target, *embedded("embedded:state"))
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert len(done.output) < 3_000


def test_a_closed_output_harms_nothing(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m processor schemas list >&- 2>&-; echo $? > code"
    environment = clean_environment()
    subprocess.run(["/bin/sh", "-c", shell], cwd=tmp_path, env=environment, check=True, timeout=60)
    assert (tmp_path / "code").read_text() in ("0\n", "2\n")


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_a_reason_is_exact_in_json(invoke: Invoke, tmp_path: Path, how: str) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    order = '{"id": "A-1", "amount": 5000}'
    reason = "caf\u00e9 \x1b[2J\nline"
    assert invoke("start", "order_processing", order, "--id=A-1", *where).exit_code == 0
    assert invoke(how, "A-1", f"--reason={reason}", *where).exit_code == 0
    done = invoke("result", "A-1", "--json", *where)
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["reason"] == reason


def test_arguments_that_do_not_fit_are_named_without_our_list(
    invoke: Invoke, tmp_path: Path
) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    done = invoke("start", "order_processing", '{"id": "A", "amount": "much"}', *where)
    assert done.exit_code == 3
    assert "argument 'order' at `$.amount`" in done.stderr
    assert "tuple" not in done.stderr


LEFT_OUT = """
from processor import activity, workflow

class Bank:
    @activity.define
    async def charge(self) -> None: ...
    @activity.define
    async def refund(self) -> None: ...

charge = Bank().charge

@workflow.define
async def pays() -> None: ...
"""


def test_an_activity_without_its_instance_is_told(
    invoke: Invoke, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "left_out_code.py").write_text(LEFT_OUT)
    done = invoke("list", "--server", f"embedded:{tmp_path / 'state'}", "-m", "left_out_code")
    assert done.exit_code == 0, done.output
    (told,) = [r.getMessage() for r in caplog.records if r.name == "processor.cli"]
    assert told.endswith("put at the top of the module: refund = Bank(...).refund")
