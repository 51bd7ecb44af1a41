"""Streams of events: what they have, where they go on, and who cannot hold them for ever."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from processor import Client, Worker, WorkflowNotFound
from processor.api import HttpOptions
from processor.api import app as api_app
from processor.api import server as api_server
from processor.api.running import served
from tests.api.serving import BASE, CODE, Basket, at_port

Work = Callable[[httpx.AsyncClient, Client, int], Awaitable[None]]


def over_a_socket(path: Path, work: Work, **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), at_port(path, **options) as (http, client, port):
            await work(http, client, port)

    asyncio.run(main())


async def messages(http: httpx.AsyncClient, url: str, **headers: str) -> AsyncIterator[Any]:
    """Yield (id, event, data) of a stream, until it ends."""
    async with http.stream("GET", url, headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        fields: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                yield fields.get("id", ""), fields["event"], json.loads(fields["data"])
                fields = {}


def test_a_stream_has_each_event_and_its_end(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        handle = await client.start(Basket.run, "ada", id="b")
        seen: list[Any] = []
        async for message in messages(http, f"{BASE}/instances/b/watch"):
            if not seen:
                await handle.raise_event("add", "apple")
                await handle.raise_event("pay")
            seen.append(message)
        history = await handle.history()
        assert [each[1] for each in seen] == [*(event.type for event in history), "end"]
        assert seen[-1][2] == {"status": "completed", "successor": None}
        for cut in range(len(seen) - 1):  # a reader that lost its connection goes on from there
            url, last = f"{BASE}/instances/b/watch", seen[cut][0]
            rest = [each async for each in messages(http, url, **{"last-event-id": last})]
            assert rest == seen[cut + 1 :]

    over_a_socket(tmp_path, work)


def test_a_stream_of_large_events_leaves_none_out_and_sends_none_twice(tmp_path: Path) -> None:
    """No more than a part of them is kept for whoever reads slowly."""

    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        handle = await client.start(Basket.run, "ada", id="b")
        for number in range(12):
            await handle.raise_event("add", f"{number}" + "x" * 30_000)
        await handle.raise_event("pay")
        await handle.result(30)
        history = await handle.history()
        url = f"{BASE}/instances/b/watch"
        seen = [each async for each in messages(http, url)]
        assert [each[0] for each in seen[:-1]] == [
            f"{handle.run_id}:{event.number}" for event in history
        ]
        last = {"last-event-id": seen[7][0]}
        assert [each async for each in messages(http, url, **last)] == seen[8:]

    over_a_socket(tmp_path, work)


def test_who_asks_for_the_headers_alone_waits_for_no_stream(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        for _ in range(2):  # the second one over the same connection
            head = await http.head(f"{BASE}/instances/b/watch", timeout=30)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"].startswith("text/event-stream")

    over_a_socket(tmp_path, work)


@pytest.mark.parametrize("last", ["x", ":", "run:x", "run:-1", "run:" + "9" * 40])
def test_a_place_that_is_none_is_refused(tmp_path: Path, last: str) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        url = f"{BASE}/instances/b/watch"
        found = await http.get(url, headers={"last-event-id": last})
        assert (found.status_code, found.json()["type"]) == (400, "InvalidArgument")
        none = await http.get(f"{BASE}/instances/none/watch")
        assert none.status_code == 404
        gone = await http.get(url, headers={"last-event-id": "nobody:3"})
        assert (gone.status_code, gone.json()["type"]) == (404, "WorkflowNotFound")

    over_a_socket(tmp_path, work)


def test_a_stream_is_kept_alive_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_app, "_KEEP_ALIVE_S", 0.05)

    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        found = await http.get(f"{BASE}/instances/b/watch")
        assert b"\n\n: still here\n\n" in found.content

    over_a_socket(tmp_path, work, watch_s=1)


def test_there_are_so_many_streams_and_each_that_is_left_is_over(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        url = f"{BASE}/instances/b/watch"
        async with http.stream("GET", url) as first, http.stream("GET", url) as second:
            reading = [each.aiter_bytes() for each in (first, second)]
            for each in reading:
                assert b"WorkflowStarted" in await anext(each)
            late = await http.get(url)
            assert (late.status_code, late.headers["retry-after"]) == (503, "1")
            assert "2 streams wait for changes" in late.json()["detail"]
            for more in ("?wait=0.1", "/result?wait=0.1"):  # these have room of their own
                assert (await http.get(f"{BASE}/instances/b{more}")).status_code < 300
        await until_free(http, url)

    over_a_socket(tmp_path, work, watches_max=2)


def test_a_stream_that_is_left_is_over_also_where_another_request_is_behind_it(
    tmp_path: Path,
) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        ask = f"GET {BASE}/instances/b/watch HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ask * 2)
        await reader.readuntil(b"WorkflowStarted")
        writer.close()
        async with asyncio.timeout(20):
            await until_free(http, f"{BASE}/instances/b/watch")

    over_a_socket(tmp_path, work, watches_max=1)


async def until_free(http: httpx.AsyncClient, url: str) -> None:
    """Wait until there may be another stream."""
    while True:
        async with http.stream("GET", url) as found:
            if found.status_code == 200:
                return
        await asyncio.sleep(0.02)


def test_so_many_requests_wait_and_no_more(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        url = f"{BASE}/instances/b/result"

        async def wait() -> int:
            """The look below may have taken a place for a moment."""
            while (found := await http.get(url, params={"wait": 60})).status_code == 503:
                await asyncio.sleep(0.02)
            return found.status_code

        waits = [asyncio.create_task(wait()) for _ in range(2)]
        while (late := await http.get(url, params={"wait": 0.01})).status_code == 202:
            await asyncio.sleep(0.02)
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        assert "2 requests wait for changes" in late.json()["detail"]
        await client.handle("b").signal(Basket.pay)
        assert await asyncio.gather(*waits) == [200, 200]

    over_a_socket(tmp_path, work, watches_max=2)


def test_what_has_no_place_to_wait_is_refused_before_it_is_done(tmp_path: Path) -> None:
    """503 says that the same request may be sent again."""

    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        azure = "/runtime/webhooks/durabletask/orchestrators"
        waits = {"prefer": "wait=0.1"}
        asked = [
            (f"{BASE}/workflows/Basket/runs", {"id": "new", "arguments": ["bob"]}, waits),
            (f"{azure}/Basket/new?timeout=1&pollingInterval=1", "bob", {}),
            (f"{BASE}/instances/b/updates/remove", {"id": "u", "arguments": ["apple"]}, waits),
        ]
        for url, body, headers in asked:
            found = await http.post(url, json=body, headers=headers)
            assert found.status_code == 503 and found.json()["retryable"], url
        with pytest.raises(WorkflowNotFound):
            await client.handle("new").describe()
        assert [each.type for each in await client.handle("b").history()][-1] == "ValueSet"
        for url, body, _ in asked[:1]:  # who does not wait takes no place
            assert (await http.post(url, json=body)).status_code == 202
        accepted = await http.post(asked[2][0], json=asked[2][1], params={"stage": "accepted"})
        assert accepted.status_code == 202

    over_a_socket(tmp_path, work, watches_max=0)


@pytest.mark.parametrize("wait", ["nan", "-1"])
def test_a_wait_that_is_none_is_refused_before_anything_is_done(tmp_path: Path, wait: str) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        await client.start(Basket.run, "ada", id="b")
        azure = "/runtime/webhooks/durabletask/orchestrators/Basket/new"
        for url in (
            f"{BASE}/instances/b/updates/remove?wait={wait}",
            f"{azure}?timeout={wait}&pollingInterval=1",
        ):
            assert (await http.post(url, json={"arguments": ["apple"]})).status_code == 400, url
        with pytest.raises(WorkflowNotFound):
            await client.handle("new").describe()
        assert [each.type for each in await client.handle("b").history()][-1] == "ValueSet"

    over_a_socket(tmp_path, work)


def test_a_stream_that_is_never_read_is_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(http: httpx.AsyncClient, client: Client, port: int) -> None:
        handle = await client.start(Basket.run, "ada", id="b")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            deaf.connect(("127.0.0.1", port))
            head = f"GET {BASE}/instances/b/watch HTTP/1.1\r\nhost: localhost\r\n\r\n"
            deaf.sendall(head.encode())
            while "does not read its answer" not in caplog.text:
                await handle.raise_event("add", "x" * 300_000)
        await until_free(http, f"{BASE}/instances/b/watch")

    over_a_socket(tmp_path, work, watches_max=1, send_s=0.3)


def test_what_a_server_cuts_short_as_it_stops_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a question to a shard that does not answer."""
    monkeypatch.setattr(api_server, "_SHUTDOWN_S", 1)

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        path = f"embedded:{tmp_path / 'state'}"
        async with asyncio.timeout(60), Worker(path, **CODE), Client(path) as client:
            async with served(client, "default", HttpOptions(port=0)) as server:
                http = httpx.AsyncClient(base_url=server.url, timeout=60)
                monkeypatch.setattr(client._calls.gateway, "request", never)
                asking = asyncio.create_task(http.post(f"{BASE}/instances/b/events/x", json=1))
                while not server.requests_running:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
            found = await asking
            assert found.status_code == 503 and found.json()["retryable"]
            assert "may be done all the same" in found.json()["detail"]
            await http.aclose()

    asyncio.run(main())


def test_a_server_that_stops_ends_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "_SHUTDOWN_S", 40)

    async def main() -> None:
        path = f"embedded:{tmp_path / 'state'}"
        async with asyncio.timeout(120), AsyncExitStack() as stack:
            await stack.enter_async_context(Worker(path, **CODE))
            client = await stack.enter_async_context(Client(path))
            await client.start(Basket.run, "ada", id="b")
            async with served(client, "default", HttpOptions(port=0)) as server:
                http = httpx.AsyncClient(base_url=server.url, timeout=60)
                await stack.enter_async_context(http)
                url = f"{BASE}/instances/b"
                seen: list[str] = []

                async def watch() -> None:
                    async for _, kind, _ in messages(http, f"{url}/watch"):
                        seen.append(kind)

                watching = asyncio.create_task(watch())
                waiting = asyncio.create_task(http.get(f"{url}?wait=60"))
                other = {"arguments": ["bob"]}
                waits = {"prefer": "wait=60"}
                azure = "/runtime/webhooks/durabletask/orchestrators/Basket/c"
                others = [
                    (202, http.post(f"{BASE}/workflows/Basket/runs", json=other, headers=waits)),
                    (202, http.post(f"{azure}?timeout=60&pollingInterval=1", json="bob")),
                    (202, http.get(f"{url}/result", params={"wait": 60})),
                    (504, http.get(f"{url}/values/never", params={"wait": 60})),
                ]
                asking = [asyncio.create_task(each) for _, each in others]
                while not seen or server.requests_running < 6:
                    await asyncio.sleep(0.01)
                while len([run async for run in client.list()]) < 3:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)
                stopped = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - stopped < 35, "nothing was cut short"
            found = [await each for each in asking]
            assert [each.status_code for each in found] == [status for status, _ in others]
            assert all(each.headers["location"] for each in found[:3])
            assert "server stops" in found[3].json()["detail"]
            await watching
            assert seen[0] == "WorkflowStarted" and "end" not in seen
            assert (await waiting).json()["status"] == "running"

    asyncio.run(main())
