"""Tables of users in a worker without Kafka, and over HTTP."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from examples.orders_per_hour import orders_per_hour, sale
from processor import Client, InvalidArgument, TableStopped, Worker, sync, views
from processor.api import HttpOptions
from processor.client import ViewRow

WHERE = "api/v1/namespaces/default/views"


@views.table("stops", key=lambda event: event.run_id)
def stops(row: int | None, event: views.RunEvent) -> int:
    raise ValueError("it cannot count")


def new_worker(path: Path) -> Worker:
    views, http = [orders_per_hour, stops], HttpOptions(port=0)
    return Worker(f"embedded:{path}", workflows=[sale], views=views, http=http)


async def sold(client: Client) -> list[ViewRow]:
    return [row async for row in client.view("orders_per_hour")]


def earned(rows: list[ViewRow]) -> int:
    return sum(row.value["earned"] for row in rows)


def test_a_table_has_what_was_acknowledged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def first() -> None:
        async with new_worker(tmp_path), Client(f"embedded:{tmp_path}") as client:
            assert await sold(client) == []
            for number in range(1, 6):
                await client.run(sale, "lamp", number)
                assert earned(await sold(client)) == sum(range(number + 1))
            with pytest.raises(TableStopped, match=r"'stops' stands still, .*it cannot count"):
                [row async for row in client.view("stops")]
            with pytest.raises(InvalidArgument, match="there is no table 'none' here"):
                [row async for row in client.view("none")]

    async def again() -> None:
        async with new_worker(tmp_path) as worker, Client(f"embedded:{tmp_path}") as client:
            await client.run(sale, "desk", 100)
            rows = await sold(client)
            assert earned(rows) == 115
            async with Client(worker.http_url) as remote, httpx.AsyncClient() as http:
                assert await sold(remote) == rows
                url = f"{worker.http_url}/{WHERE}"
                page = (await http.get(f"{url}/orders_per_hour?limit=1000")).json()
                assert page == {"items": [vars(row) for row in rows], "after": None, "behind": 0}
                nothing = (await http.get(f"{url}/orders_per_hour?prefix=x")).json()
                assert nothing["items"] == []
                refused = await http.get(f"{url}/none")
                assert (refused.status_code, refused.json()["type"]) == (400, "InvalidArgument")
                stopped = await http.get(f"{url}/stops")
                assert (stopped.status_code, stopped.json()["type"]) == (409, "TableStopped")
                with pytest.raises(TableStopped, match="it cannot count"):
                    [row async for row in remote.view("stops")]

    asyncio.run(first())
    asyncio.run(again())
    assert not [each for each in caplog.records if each.name == "processor.api" and each.exc_info]


def test_a_program_without_asyncio_reads_it(tmp_path: Path) -> None:
    where = f"embedded:{tmp_path}"
    with sync.Worker(where, workflows=[sale], views=[orders_per_hour]), sync.Client(where) as mine:
        mine.run(sale, "lamp", 3)
        (row,) = mine.view("orders_per_hour", limit=1)
        assert row.value["completed"] == 1


def test_on_kafka_a_worker_takes_none() -> None:
    with pytest.raises(InvalidArgument, match="processor views run --module MODULE"):
        Worker("localhost:9092", workflows=[sale], views=[orders_per_hour])
