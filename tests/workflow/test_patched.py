"""``guard=False`` patches nothing in the process, and the page lists all that is patched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, glob, os, random, secrets, signal, sys, threading, time, uuid, _thread

MODULES = (time, random, uuid, secrets, os, _thread, signal)
before = {(m.__name__, name): value for m in MODULES for name, value in vars(m).items()}
before["Thread", "start"] = threading.Thread.start
before["Random", "seed"] = random.Random.seed
before["sys", "unraisablehook"] = sys.unraisablehook
before["as_completed", "code"] = asyncio.as_completed.__code__
before["gather", "hash"] = asyncio.tasks._GatheringFuture.__hash__
hooks = set()
sys.addaudithook(lambda event, _: event == "sys.addaudithook" and hooks.add(event))

from processor import Client, Worker, workflow

@workflow.define
async def counts() -> int:
    async def one(number: int) -> int:
        await asyncio.sleep(0)
        return number
    async def numbers():
        yield 1
        yield 2
    async for first in numbers():
        break
    return sum([await each for each in asyncio.as_completed([one(1), one(2)])])

async def main() -> None:
    async with Worker(sys.argv[1], workflows=[counts], guard=eval(sys.argv[2])):
        async with Client(sys.argv[1]) as client:
            assert await client.run(counts, timeout=30) == 3
    last = sys.get_asyncgen_hooks().finalizer
    if type(getattr(last, "__self__", None)).__module__.startswith("processor"):
        hooks.add("generators")

asyncio.run(main())
now = {(m.__name__, name): value for m in MODULES for name, value in vars(m).items()}
now["Thread", "start"] = threading.Thread.start
now["Random", "seed"] = random.Random.seed
now["sys", "unraisablehook"] = sys.unraisablehook
now["as_completed", "code"] = asyncio.as_completed.__code__
now["gather", "hash"] = asyncio.tasks._GatheringFuture.__hash__
for key, value in before.items():
    if now[key] is not value and not (key[0] == "random" and key[1].startswith("__")):
        print(*key)
for hook in hooks:
    print("hook", hook)
"""


def changed(path: Path, guard: str) -> set[str]:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"embedded:{path}", guard],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return set(found.stdout.splitlines())


@pytest.mark.slow
def test_without_the_guard_nothing_is_patched(tmp_path: Path) -> None:
    assert changed(tmp_path, "False") == set()


@pytest.mark.slow
@pytest.mark.parametrize("guard", ["'answer'", "'refuse'"])
def test_the_page_lists_all_that_is_patched(tmp_path: Path, guard: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "patched.md").read_text()
    found = changed(tmp_path, guard)
    assert {"hook sys.addaudithook", "hook generators", "as_completed code", "time time"} <= found
    names = {line.split()[1] for line in found if line.split()[0] in ("time", "uuid", "os")}
    assert not [name for name in names if name.removesuffix("_ns") not in page]
