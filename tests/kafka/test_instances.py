"""The names of processes: no two have the same one, and one that comes back has its own."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from processor import Client, StateDirectoryInUse, Worker
from processor.kafka.group.instance import Lifetime, take_instance
from tests.kafka.own_broker import OwnBroker, prepare
from tests.kafka.probes import Listens
from tests.kafka.talking import first_answer

HOST = socket.gethostname()
HOLDS = (
    "import sys, pathlib; from processor.kafka.group.instance import take_instance;"
    "state, given = pathlib.Path(sys.argv[1]), sys.argv[2] or None;"
    "print(take_instance(state, 'default', given)[0], flush=True);"
    "sys.stdin.read()"
)


def process(state: Path, given: str = "") -> tuple[subprocess.Popen[str], str]:
    held = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(state), given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert held.stdout is not None
    return held, held.stdout.readline().strip()


def end(held: subprocess.Popen[str]) -> None:
    held.kill()
    held.communicate()


def test_processes_of_a_host_take_names_of_their_own_and_have_them_again(tmp_path: Path) -> None:
    held = [process(tmp_path) for _ in range(3)]
    try:
        assert [name for _, name in held] == [HOST, f"{HOST}-2", f"{HOST}-3"]
        end(held[1][0])
        held[1] = process(tmp_path)
        assert held[1][1] == f"{HOST}-2", "what kill -9 ended comes back under its name"
    finally:
        for each, _ in held:
            end(each)
    name, lock = take_instance(tmp_path, "default", None)
    os.close(lock)
    assert name == HOST


def test_a_given_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    held, name = process(tmp_path, "mine")
    try:
        assert name == "mine"
        with pytest.raises(StateDirectoryInUse, match=rf"'mine' is taken: process {held.pid} .*id"):
            take_instance(tmp_path, "default", "mine")
        other, lock = take_instance(tmp_path, "another", "mine")
        os.close(lock)
        assert other == "mine", "each namespace has a group of its own"
    finally:
        end(held)
    os.close(take_instance(tmp_path, "default", "mine")[1])


def test_a_name_that_a_full_disk_keeps_from_being_written_is_free_for_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            take_instance(tmp_path, "default", "mine")
    os.close(take_instance(tmp_path, "default", "mine")[1])


def test_a_process_knows_whether_the_one_before_has_left(tmp_path: Path) -> None:
    os.close(take_instance(tmp_path, "default", "mine")[1])
    first = Lifetime(tmp_path, "default", "mine")
    assert not first.came_back
    first.begin()
    killed = Lifetime(tmp_path, "default", "mine")
    assert killed.came_back and not Lifetime(tmp_path, "another", "mine").came_back
    killed.begin()
    killed.end()
    assert not Lifetime(tmp_path, "default", "mine").came_back


def test_a_file_that_cannot_be_deleted_keeps_nothing_from_being_closed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """On a disk that became read-only, say."""
    in_the_way = tmp_path / "mine" / "default" / "alive"
    in_the_way.mkdir(parents=True)
    Lifetime(tmp_path, "default", "mine").end()
    assert f"{in_the_way} cannot be deleted" in caplog.text
    assert "takes this one for one that was killed" in caplog.text


def test_a_process_that_stops_while_no_broker_is_there_is_taken_for_one_that_was_killed(
    breakable: OwnBroker, namespace: str, tmp_path: Path
) -> None:
    """It cannot leave its groups: what it had given up there would be nobody's."""
    prepare(breakable.servers, namespace)
    alive = tmp_path / "one" / namespace / "alive"

    def worker() -> Worker:
        how: dict[str, Any] = {"workflows": [Listens], "state_dir": tmp_path}
        return Worker(breakable.servers, namespace=namespace, instance_id="one", **how)

    async def main() -> None:
        async with worker(), Client(breakable.servers, namespace=namespace) as client:
            await first_answer(client)
            await asyncio.to_thread(breakable.broker.kill)
        assert alive.exists()
        await asyncio.to_thread(breakable.broker.start)
        async with worker(), Client(breakable.servers, namespace=namespace) as client:
            await first_answer(client)
        assert not alive.exists()

    asyncio.run(main())
