"""Several workers, clients and namespaces of one process on one path: what works, what does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from processor import Client, InvalidArgument, StateDirectoryInUse, Worker, workflow


@workflow.define
async def one() -> int:
    return 1


@workflow.define
async def two() -> int:
    return 2


def test_a_second_worker_of_a_path_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=[one]), Client(server) as client:
            assert await client.run(one) == 1
            for same in (server, f"{server}/../{tmp_path.name}"):
                with pytest.raises(StateDirectoryInUse, match="another Worker of this process"):
                    async with Worker(same, workflows=[two]):
                        pass
            assert await client.run(one) == 1
            async with Client(server) as another:
                assert await another.run(one) == 1
        async with Worker(server, workflows=[two]), Client(server) as client:
            assert await client.run(two) == 2, "the path is free again"

    asyncio.run(main())


def test_two_that_start_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        workers = [Worker(server, workflows=[one]) for _ in range(2)]
        begun = await asyncio.gather(*(w.__aenter__() for w in workers), return_exceptions=True)
        assert sum(isinstance(each, StateDirectoryInUse) for each in begun) == 1
        async with Client(server) as client:
            assert await client.run(one) == 1
        for worker, how in zip(workers, begun, strict=True):
            if how is worker:
                await worker.__aexit__(None, None, None)

    asyncio.run(main())


def test_a_path_holds_one_namespace(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, namespace="shop", workflows=[one]):
            async with Client(server, namespace="shop") as client:
                assert await client.run(one) == 1
            async with Client(server, namespace="bank") as client:
                with pytest.raises(InvalidArgument, match="serves 'shop', not 'bank'"):
                    await client.run(one)

    asyncio.run(main())


def test_each_path_is_a_runtime_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = f"embedded:{tmp_path / 'a'}", f"embedded:{tmp_path / 'b'}"
        async with (
            Worker(first, workflows=[one]),
            Worker(second, workflows=[two]),
            Client(first) as a,
            Client(second) as b,
        ):
            assert (await a.run(one, id="x"), await b.run(two, id="x")) == (1, 2)

    asyncio.run(main())


def test_a_worker_without_a_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="shards=True"):
        Worker(f"embedded:{tmp_path}", shards=False)
