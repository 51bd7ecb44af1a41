"""The worker process and its supervisor: signals, deaths, and what is started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from processor.cli.supervisor import Supervisor

from .conftest import Processor, clean_environment

CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[3])))
with open(sys.argv[1], "a") as log:
    log.write(f"{sys.argv[2]} {os.getpid()}\\n")
while True:
    time.sleep(0.05)
"""


class Children:
    """Fake workers, which write down who started as which instance."""

    def __init__(self, log: Path, code: str = CHILD, stop_code: int = 0) -> None:
        self._log = log
        self._code = code
        self._stop_code = stop_code

    def command(self, slot: int) -> list[str]:
        own = [str(self._log), f"host-{slot}", str(self._stop_code)]
        return [sys.executable, "-c", self._code, *own]

    def started(self) -> list[tuple[str, int]]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def supervised(children: Children, play: Callable[[], Awaitable[None]]) -> int:
    """Run a supervisor of two children beside ``play``; return its exit code."""

    async def run() -> int:
        supervising = asyncio.create_task(Supervisor(children.command, 2, shutdown_s=20).run())
        await play()
        return await supervising

    return asyncio.run(run())


def test_a_dead_child_starts_again_under_its_name(tmp_path: Path) -> None:
    children = Children(tmp_path / "log")

    async def play() -> None:
        await until(lambda: len(children.started()) == 2)
        dead = dict(children.started())["host-0"]
        os.kill(dead, signal.SIGKILL)
        await until(lambda: len(children.started()) == 3)
        instance, pid = children.started()[-1]
        assert instance == "host-0"
        assert pid != dead
        os.kill(os.getpid(), signal.SIGTERM)

    assert supervised(children, play) == 0
    assert not any(lives(pid) for _, pid in children.started())


def test_a_child_that_fails_to_stop_is_an_exit_code(tmp_path: Path) -> None:
    children = Children(tmp_path / "log", stop_code=7)

    async def play() -> None:
        await until(lambda: len(children.started()) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    assert supervised(children, play) == 1


def test_a_second_signal_kills_the_children(tmp_path: Path) -> None:
    stubborn = CHILD.replace("lambda *_: sys.exit(int(sys.argv[3]))", "signal.SIG_IGN")
    children = Children(tmp_path / "log", stubborn)

    async def play() -> None:
        await until(lambda: len(children.started()) == 2)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    assert supervised(children, play) == 1
    assert not any(lives(pid) for _, pid in children.started())


def test_a_child_that_dies_again_and_again_is_started_less_often(tmp_path: Path) -> None:
    dying = CHILD.replace("while True:", "sys.exit(4)\nwhile True:")
    children = Children(tmp_path / "log", dying)

    async def play() -> None:
        await asyncio.sleep(2.0)
        seen.append(deaths())
        await until(lambda: deaths() >= 2)
        os.kill(os.getpid(), signal.SIGTERM)

    def deaths() -> int:
        return sum(instance == "host-1" for instance, _ in children.started())

    seen: list[int] = []
    supervised(children, play)
    assert seen[0] <= 5


def test_wrong_usage_stops_all(tmp_path: Path) -> None:
    wrong = CHILD.replace("while True:", "if sys.argv[2] == 'host-1': sys.exit(2)\nwhile True:")
    children = Children(tmp_path / "log", wrong)

    async def play() -> None:
        await until(lambda: bool(children.started()))

    assert supervised(children, play) == 2


def test_processes_that_cannot_start_end_the_command(processor: Processor) -> None:
    worker = processor("worker", "no.such.module", "--processes=2")
    _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 2
    assert "there is no module 'no.such.module'" in errors


def test_a_child_stops_when_its_supervisor_is_gone() -> None:
    code = (
        "import time; from processor.cli.commands.worker import stop_with_parent;"
        "stop_with_parent(1); print('ready', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.stdin.close()
    assert child.wait(20) == -signal.SIGTERM
    child.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_stops_in_order(processor: Processor, number: signal.Signals) -> None:
    worker = processor("worker", "examples.orders", "--server=embedded:state", "--json")
    assert worker.stdout is not None
    seen = []
    for line in worker.stdout:
        seen.append(json.loads(line)["message"])
        if "is ours" in seen[-1]:
            break
    worker.send_signal(number)
    rest = [json.loads(line)["message"] for line in worker.stdout]
    assert worker.wait(30) == 0
    assert "workflows: order_processing" in seen[0]
    assert rest[-1] == "stopped"


def test_a_second_signal_stops_a_worker_at_once(processor: Processor, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "from processor import activity, workflow\n"
        "@activity.define\n"
        "def nap() -> None:\n"
        "    pathlib.Path('napping').touch()\n"
        "    time.sleep(60)\n"
        "@workflow.define\n"
        "async def napping() -> None:\n"
        "    await nap()\n"
    )
    starter = processor("start", "napping", "--server=embedded:state", "--module=slow")
    assert starter.stdout is not None
    assert starter.stdout.readline().startswith("started ")
    starter.kill()
    starter.wait()
    (tmp_path / "napping").unlink(missing_ok=True)
    worker = processor("worker", "slow", "--server=embedded:state", "--shutdown=30")
    asyncio.run(until((tmp_path / "napping").exists))
    worker.send_signal(signal.SIGTERM)
    assert worker.stderr is not None
    assert any("stopping within 30 s" in line for line in worker.stderr)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 128 + signal.SIGTERM


def test_dev_without_a_broker(processor: Processor) -> None:
    dev = processor("dev", "--state=state")
    assert dev.stderr is not None
    assert any("is ours" in line for line in dev.stderr)
    dev.send_signal(signal.SIGINT)
    output, _ = dev.communicate(timeout=30)
    assert dev.returncode == 0
    assert "processor tables scan runs --state-dir state" in output


def test_dev_says_how_to_start_a_run(processor: Processor) -> None:
    dev = processor("dev")
    assert dev.stdout is not None
    shown = [next(dev.stdout) for _ in range(6)]
    text = "".join(shown)
    assert "  processor dev --kafka examples.orders " in text
    (command,) = [line for line in shown if line.startswith("  processor run ")]
    dev.terminate()
    dev.communicate(timeout=60)
    order = '{"id": "A-1", "amount": 1, "follow_up_s": 0.01}'
    words = command.split("#")[0].split()[1:]
    run = processor(*(order if word == "JSON..." else word for word in words))
    output, errors = run.communicate(timeout=60)
    assert output == "Order processing completed successfully!\n", errors
