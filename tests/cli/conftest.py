"""The command line as its users have it: a process, and for what is quick, a call."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from processor.cli import app
from tests.kafka.conftest import namespace

__all__ = ("namespace",)

COMMAND = (sys.executable, "-m", "processor")
ROOT = Path(__file__).parent.parent.parent
Processor = Callable[..., "subprocess.Popen[str]"]
Invoke = Callable[..., Result]


def clean_environment() -> dict[str, str]:
    """Return the environment without the options that it may hold."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PROCESSOR_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def processor(tmp_path: Path) -> Iterator[Processor]:
    """Start ``processor`` with these arguments in a folder of the test's own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=clean_environment(),
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Call ``processor`` with these arguments in this process, and leave the process as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    for name in [name for name in os.environ if name.startswith("PROCESSOR_")]:
        monkeypatch.delenv(name)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, list(arguments))


@pytest.fixture
def finished_order(invoke: Invoke, tmp_path: Path) -> str:
    """Run one small order to its end; return the embedded server that has it."""
    server = f"embedded:{tmp_path / 'state'}"
    order = '{"id": "A-1", "amount": 10, "follow_up_s": 0.01}'
    done = invoke("run", "order_processing", order, "--id=A-1", *embedded(server))
    assert done.exit_code == 0, done.output
    return server


def embedded(server: str) -> tuple[str, ...]:
    return ("--server", server, "--module", "examples.orders")
