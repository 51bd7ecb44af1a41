"""Workflow code that is in C, and holds Python's lock there: what its process makes of it."""

from __future__ import annotations

import asyncio
import re
import signal
from pathlib import Path
from subprocess import Popen

import pytest

from processor import Client

from .conftest import Processor

pytestmark = pytest.mark.slow

CODE = """
import re
from processor import workflow

@workflow.define
async def backtracks() -> None:
    re.match("(a+)+$", "a" * 60 + "b")

@workflow.define
async def counts() -> None:
    print("counting", flush=True)
    sum(range(10**12))

@workflow.define
async def well() -> str:
    return "well"
"""


def serving(processor: Processor, path: Path) -> tuple[Popen[str], str]:
    """Start a process that has the code; return it, and its URL."""
    (path / "code_in_c.py").write_text(CODE)
    process = processor("dev", "code_in_c", "--port=0")
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"the HTTP API is at (\S+)", line):
            return process, found[1]
    raise AssertionError("it does not serve")


def test_a_regular_expression_that_backtracks_for_ever_parks_its_run(
    processor: Processor, tmp_path: Path
) -> None:
    _, url = serving(processor, tmp_path)

    async def main() -> None:
        async with Client(url) as client:
            handle = await client.start("backtracks", id="w-1", timeout=60)
            parked = (await handle.describe()).parked
            assert parked is not None and parked["kind"] == "never_ends"
            assert 're.match("(a+)+$", "a" * 60 + "b")' in parked["where"]
            assert await client.run("well") == "well"

    asyncio.run(main())


def test_where_c_code_stands_that_handles_no_signals_is_shown_by_sigabrt(
    processor: Processor, tmp_path: Path
) -> None:
    process, url = serving(processor, tmp_path)
    processor("start", "counts", f"--server={url}")
    assert process.stdout is not None
    assert any(line == "counting\n" for line in process.stdout)
    process.send_signal(signal.SIGABRT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT
    assert 'code_in_c.py", line 1' in said and " in counts\n" in said, said
