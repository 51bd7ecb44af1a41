"""The folder of an embedded runtime: whose it is, who may read it, and which namespace it holds."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from processor import Client, InvalidArgument, Status, StoreCorrupt, Worker, workflow
from processor.embedded.disk import FAMILIES
from processor.store.rocks import Rocks


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


async def with_client(
    path: Path, talk: Callable[[Client], Awaitable[Any]], namespace: str = "default"
) -> Any:
    server = f"embedded:{path}"
    async with (
        Worker(server, namespace=namespace, workflows=[waits]),
        Client(server, namespace=namespace) as client,
    ):
        return await talk(client)


def use(path: Path, namespace: str = "default", id: str = "a") -> Any:
    async def talk(client: Client) -> Any:
        await client.start(waits, id=id, conflict="use-existing")
        return [run.workflow_id async for run in client.list()]

    return asyncio.run(with_client(path, talk, namespace))


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0o000)
    yield
    os.umask(before)


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def tree(path: Path) -> set[tuple[str, int]]:
    return {(str(each.relative_to(path)), rights(each)) for each in (path, *path.rglob("*"))}


# --- namespaces -----------------------------------------------------------------------------------


def test_another_namespace_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    use(tmp_path, "prod")
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="holds the runs of namespace 'prod', and not"):
            use(tmp_path, "test")

    async def talk(client: Client) -> Status:
        return (await client.handle("a").describe()).status

    assert asyncio.run(with_client(tmp_path, talk, "prod")) is Status.RUNNING


def test_a_folder_from_before_takes_the_namespace_of_who_opens_it_next(tmp_path: Path) -> None:
    use(tmp_path, "prod")
    (tmp_path / "PROCESSOR").unlink()
    store = Rocks(tmp_path / "log", FAMILIES)
    store.write([("meta", b"namespace", None)])
    store.close()
    assert use(tmp_path, "test") == ["a"]
    with pytest.raises(InvalidArgument, match="namespace 'test', and not of 'prod'"):
        use(tmp_path, "prod")


# --- whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["index.html", "log/app.log", "tables-0/t.csv", ".git/config"])
def test_a_folder_that_holds_something_else_is_refused_and_left_as_it_is(
    tmp_path: Path, held: str
) -> None:
    path = tmp_path / "theirs"
    (path / held).parent.mkdir(parents=True, exist_ok=True)
    (path / held).write_text("precious")
    path.chmod(0o1777)
    before = tree(path)
    with pytest.raises(InvalidArgument, match=r"is no folder of Processor's: nothing was changed"):
        use(path)
    assert tree(path) == before


def test_a_link_to_a_folder_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    theirs, path = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(mode=0o755)
    (theirs / "file").write_text("precious")
    path.mkdir()
    (path / "log").symlink_to(theirs)
    before = tree(theirs)
    with pytest.raises(InvalidArgument, match="'log'"):
        use(path)
    assert tree(theirs) == before


def test_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(InvalidArgument, match="is a file"):
        use(path)
    assert path.read_text() == "precious"


def test_an_empty_folder_keeps_its_rights_and_what_is_in_it_is_private(
    tmp_path: Path, open_umask: None
) -> None:
    path = tmp_path / "empty"
    path.mkdir(mode=0o777)
    (path / "lost+found").mkdir()
    for _ in range(2):
        use(path)
        assert rights(path) == 0o777
        assert {rights(path / each) for each in ("log", "tables-0")} == {0o700}
        files = [path / "PROCESSOR", *path.glob("*-0/*"), *path.glob("log/*")]
        assert {rights(each) for each in files} == {0o600}


def test_a_new_folder_is_for_its_user_only(tmp_path: Path, open_umask: None) -> None:
    path = tmp_path / "a" / "b"
    use(path)
    assert (rights(path.parent), rights(path)) == (0o700, 0o700)


# --- a damaged log --------------------------------------------------------------------------------


def test_a_damaged_log_says_what_to_do(tmp_path: Path) -> None:
    use(tmp_path)
    (tmp_path / "log" / "CURRENT").write_text("xx\n")
    with pytest.raises(StoreCorrupt, match=r"only copy of its runs.*backup"):
        use(tmp_path)
