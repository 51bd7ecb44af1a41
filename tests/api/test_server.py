"""The server: what it lets in, how much of it, and for how long."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from processor import Client, InvalidArgument, Worker
from processor.api import HttpOptions
from processor.api.files import connections_held, raise_files
from processor.api.running import served
from tests.api.serving import BASE, CODE, asked, at_port

Ports = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def over_a_socket(path: Path, work: Callable[[Any, int], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), at_port(path, **options) as (http, _, port):
            await work(http, port)

    asyncio.run(main())


async def talk(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send parts, and return all that comes until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


HEAD = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n"


def test_it_is_alive_and_says_so(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, port: int) -> None:
        assert (await http.get("/health/live")).json() == {"status": "live"}
        ready = await http.get("/health/ready", headers={"host": "10.0.0.7:8233"})
        assert ready.json() == {"status": "ready"}
        assert ready.headers["x-content-type-options"] == "nosniff"

    over_a_socket(tmp_path, work)


def test_a_worker_serves_it_and_is_ready_when_its_shards_are(tmp_path: Path) -> None:
    async def main() -> None:
        worker = Worker(f"embedded:{tmp_path / 's'}", **CODE, http=HttpOptions(port=0))
        async with worker, httpx.AsyncClient(base_url=worker.http_url) as http:
            body = {"arguments": ["Ada"]}
            url, wait = f"{BASE}/workflows/greet/runs", {"prefer": "wait=30"}
            found = await http.post(url, json=body, headers=wait)
            assert found.json()["result"] == "Hello, Ada!"
            assert (await http.get("/health/ready")).status_code == 200
            [shard] = worker.shards.values()
            shard.state = "taking over"
            late = await http.get("/health/ready")
            assert late.status_code == 503
            assert "shard 0 is taking over" in late.json()["detail"]
            shard.state = "running"
        with pytest.raises(httpx.ConnectError):
            async with httpx.AsyncClient(base_url=worker.http_url) as http:
                await http.get("/health/live")

    asyncio.run(main())


def test_no_answer_waits_for_an_acknowledgement(tmp_path: Path) -> None:
    async def main() -> None:
        path = f"embedded:{tmp_path / 'state'}"
        async with Worker(path, **CODE), Client(path) as client:
            async with served(client, "default", HttpOptions(port=0)) as server:
                async with httpx.AsyncClient(base_url=server.url) as http:
                    await http.get("/health/live")
                    assert server._server is not None
                    [connection] = server._server.server_state.connections
                    taken = connection.transport.get_extra_info("socket")
                    assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    asyncio.run(main())


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    async def work(_: httpx.AsyncClient, port: int) -> None:
        worker = Worker(f"embedded:{tmp_path / 'other'}", **CODE, http=HttpOptions(port=port))
        with pytest.raises(InvalidArgument, match=f"port {port} here: .*Name another port"):
            async with worker:
                pass

    over_a_socket(tmp_path, work)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"host": "0.0.0.0"}, "reached from other machines"),
        ({"host": "::"}, "reached from other machines"),
        ({"host": "api.example.com"}, "reached from other machines"),
        ({"port": 70_000}, "port: give 0 to 65535"),
        ({"port": -1}, "port: give a whole number"),
        ({"origins": ["https://a.example/path"]}, "without a path"),
        ({"origins": "https://a.example"}, "give a list"),
        ({"origins": ["http://["]}, "without a path"),
        ({"origins": ["https://a b"]}, "without a path"),
        ({"origins": ["https://\u4f8b.example"]}, "in ASCII"),
        ({"origins": ["https://ada:secret@a.example"]}, "without a path"),
        ({"public_url": "api.example.com"}, "give a URL"),
        ({"public_url": "http://["}, "give a URL"),
        ({"public_url": "https://a.example:99999"}, "give a URL"),
        ({"public_url": "https://a.example\r\nx: y"}, "give a URL"),
        ({"public_url": "https://\u4f8b.example/a"}, "in ASCII"),
        ({"public_url": "https://ada:secret@a.example"}, "without a password"),
        ({"hosts": ["a.example:80"]}, "without a port"),
        ({"hosts": ["https://a.example"]}, "give a name"),
        ({"hosts": ["[::1"]}, "give a name"),
        ({"hosts": ["\u4f8b.example"]}, "in ASCII"),
        ({"body_s": 0}, "body_s: give more than 0"),
        ({"connections_max": 0}, "connections_max: give a whole number from 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text) as raised:
        HttpOptions(**given)
    assert "secret" not in str(raised.value)
    assert HttpOptions(host="::1").is_local
    assert HttpOptions(hosts=["fd00::1", "[fd00::2]"]).hosts == ("[fd00::1]", "[fd00::2]")
    assert HttpOptions(hosts=["*"], auth="auth.toml").hosts == ("*",)
    with pytest.raises(InvalidArgument, match=r"'\*' lets any name reach .*auth=, --auth"):
        HttpOptions(hosts=["api.example.com", "*"])
    assert HttpOptions(origins=["HTTPS://A.example:81"]).origins == ("https://a.example:81",)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8233", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8233", 200),
        ("LOCALHOST", 200),
        ("api.example.com", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("localhost@evil.example", 421),
        ("evil.example:8233", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_another_host_is_not_answered(tmp_path: Path, host: str, status: int) -> None:
    async def main() -> None:
        options = HttpOptions(hosts=["api.example.com"])
        async with asked(tmp_path, options) as (http, _):
            found = await http.get(f"{BASE}/instances", headers={"host": host})
            assert found.status_code == status
            if status == 421:
                assert "--allow-host" in found.json()["detail"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"origin": "http://localhost:8233"}, 202),
        ({"sec-fetch-site": "same-origin", "origin": "http://localhost:8233"}, 202),
        ({"sec-fetch-site": "none"}, 202),
        ({"origin": "https://app.example.com", "sec-fetch-site": "cross-site"}, 202),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost:9000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "//localhost:8233"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:9000"}, 403),
    ],
)
def test_a_page_of_another_origin_changes_nothing(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async def main() -> None:
        options = HttpOptions(origins=["https://app.example.com"])
        async with asked(tmp_path, options) as (http, client):
            url = f"{BASE}/workflows/greet/runs"
            found = await http.post(url, json={"arguments": ["x"]}, headers=headers)
            assert found.status_code == status
            runs = [run async for run in client.list()]
            assert len(runs) == (1 if status == 202 else 0)

    asyncio.run(main())


def test_a_page_that_may_is_told_so_before_it_asks(tmp_path: Path) -> None:
    async def main() -> None:
        options = HttpOptions(origins=["https://app.example.com"])
        async with asked(tmp_path, options) as (http, _):
            for origin in ("https://app.example.com", "https://evil.example"):
                found = await http.options(f"{BASE}/instances", headers={"origin": origin})
                allowed = found.headers.get("access-control-allow-origin")
                assert allowed == (origin if "app" in origin else None)

    asyncio.run(main())


def test_a_body_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, port: int) -> None:
        url = f"{BASE}/workflows/greet/runs"
        head = f"POST {url} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}content-length: 104857600\r\n\r\n".encode())
        assert b" 413 " in await reader.readline()
        rest = await reader.readuntil(b"}")
        assert b"100000 bytes" in rest.replace(b",", b"") and b"104857600" in rest.replace(
            b",", b""
        )
        sent = 0
        with pytest.raises(ConnectionError):  # what is not read is not taken for ever
            while sent < 104_857_600:
                writer.write(b" " * 65_536)
                await writer.drain()
                sent += 65_536
        assert sent < 20_000_000
        writer.close()

    over_a_socket(tmp_path, work, body_bytes_max=100_000)


def test_a_body_without_a_length_is_bounded(tmp_path: Path) -> None:
    async def parts() -> Any:
        for _ in range(200):
            yield b" " * 1_000

    async def work(http: httpx.AsyncClient, port: int) -> None:
        url, kind = f"{BASE}/workflows/greet/runs", {"content-type": "application/json"}
        found = await http.post(url, content=parts(), headers=kind)
        assert found.status_code == 413
        assert "100,000 bytes at the most" in found.json()["detail"]

    over_a_socket(tmp_path, work, body_bytes_max=100_000)


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"GET /health",),
        (HEAD, *[b"x-a: b\r\n"] * 3),
        (HEAD.replace(b"GET", b"POST") + b"content-length: 10\r\n\r\n", b"{"),
        (f"POST {BASE}/schedules HTTP/1.1\r\nhost: localhost\r\n".encode()
         + b"content-type: application/json\r\ncontent-length: 10\r\n\r\n", b"{"),
        (HEAD + b"\r\n",),
    ],
    ids=["nothing", "half a line", "headers", "body unread", "body", "then nothing"],
)  # fmt: skip
def test_a_client_that_takes_its_time_is_cut(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    async def work(http: httpx.AsyncClient, port: int) -> None:
        await talk(port, *parts, pause_s=0.05)
        assert (await http.get("/health/live")).status_code == 200

    over_a_socket(tmp_path, work, head_s=0.5, body_s=0.5, idle_s=1)


def test_a_body_that_comes_too_slowly_is_told_so(tmp_path: Path) -> None:
    async def work(_: httpx.AsyncClient, port: int) -> None:
        head = f"POST {BASE}/schedules HTTP/1.1\r\nhost: localhost\r\n".encode()
        more = b"content-type: application/json\r\ncontent-length: 10\r\n\r\n{"
        assert b" 408 " in await talk(port, head + more)

    over_a_socket(tmp_path, work, body_s=0.2)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (HEAD + b"x: " + b"y" * 300_000, b" 431 "),
        (HEAD + b"".join(b"x%d: y\r\n" % n for n in range(30_000)), b" 431 "),
        (b"GET /" + b"a" * 300_000, b" 431 "),
        (b"no http\r\n\r\n", b" 400 "),
        (b"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n", b" 4"),
        (b"GET /health/live HTTP/1.1\r\n\r\n", b" 200 "),
        (f"GET {BASE}/instances HTTP/1.1\r\n\r\n".encode(), b" 400 "),
        (f"GET {BASE}/instances HTTP/1.1\r\nhost: localhost\r\nhost: b\r\n\r\n".encode(), b" 400 "),
        (f"GET {BASE}/instances/%ff HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), b" 400 "),
        (HEAD + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n", b" 200 "),
    ],
)
def test_an_odd_request_is_answered_within_bounds(
    tmp_path: Path, request_: bytes, status: bytes
) -> None:
    async def work(_: httpx.AsyncClient, port: int) -> None:
        found = await talk(port, request_)
        assert not found or status in found.partition(b"\r\n")[0]
        assert found or status == b" 431 ", "only what is cut while it is sent has no answer"

    over_a_socket(tmp_path, work, head_s=1, idle_s=1)


def test_requests_that_do_not_wait_for_answers_are_bounded(tmp_path: Path) -> None:
    async def work(_: httpx.AsyncClient, port: int) -> None:
        found = await talk(port, (HEAD + b"\r\n") * 5_000)
        assert found.count(b" 200 OK") <= 20
        assert not found or b" 400 " in found, "it may be cut while it is sent"

    over_a_socket(tmp_path, work, idle_s=1)


def test_there_are_so_many_connections_and_no_more(tmp_path: Path) -> None:
    """Who waits longest without a request makes room, and nobody who is answered."""

    async def work(http: httpx.AsyncClient, port: int) -> None:
        wait = f"GET {BASE}/instances/b?wait=60 HTTP/1.1\r\nhost: localhost\r\n\r\n"
        made = await http.post(
            f"{BASE}/workflows/Basket/runs", json={"id": "b", "arguments": ["a"]}
        )
        assert made.status_code == 202
        served = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in served:
            writer.write(wait.encode())
        assert (await http.get("/health/live")).status_code == 200  # those before were read by then
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        while b" 200 " not in await talk(port, HEAD + b"connection: close\r\n\r\n"):
            await asyncio.sleep(0.05)
        await http.post(f"{BASE}/instances/b/signals/pay", json={})
        for reader, _ in served:
            assert b" 200 " in await reader.readline()
        for _, writer in (*served, *idle):
            writer.close()

    over_a_socket(tmp_path, work, connections_max=5, head_s=600)


def test_a_client_that_never_reads_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), at_port(tmp_path, send_s=0.5) as (_, client, port):
            handle = await client.start("greet", "x" * 60_000, 15, id="long")
            await handle.result()
            get = f"GET {BASE}/instances/long/result HTTP/1.1\r\nhost: localhost\r\n\r\n"
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                deaf.connect(("127.0.0.1", port))
                deaf.sendall(get.encode() * 12)
                while "does not read its answer" not in caplog.text:
                    await asyncio.sleep(0.05)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "held"),
    [
        (20_000, 20_000, None, 1_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None, 1_000),
        (1_024, resource.RLIM_INFINITY, 2_500, 256),
        (1_024, 4_096, 2_500, 256),
        (2_000, 2_000, None, 500),
        (256, 2_000, 2_000, 64),
        (256, 1_024, 1_024, 64),
        (1_024, 1_024, None, 256),
    ],
)
def test_there_is_a_file_for_each_connection_or_it_is_told_and_only_ours_raises_its_limit(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    soft: int,
    hard: int,
    raised: int | None,
    held: int,
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: given.append(limits))
    assert connections_held(1_000) == held
    assert given == [], "a library leaves the limits of a process as they are"
    assert ("raise its limit (ulimit -n 2500, " in caplog.text) == (held < 1_000)
    assert (f"HttpOptions(connections_max={held})" in caplog.text) == (held < 1_000)
    assert connections_held(held) == held
    raise_files(1_000)
    assert given == ([] if raised is None else [(raised, hard)])


def test_json_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (http, _):
            url = f"{BASE}/workflows/greet/runs"
            for kind, content, status, text in (
                ("text/plain", b"{}", 415, "Content-Type: application/json"),
                ("application/json", b"{", 400, "body of the request"),
                ("application/json", b'{"memo":' + b"[" * 100_000, 400, "nested too deeply"),
                ("application/json", b'{"argument": 1}', 400, "unknown field `argument`"),
                ("application/json", b'{"arguments": {"a": 1}}', 400, "Expected `array`"),
                ("application/json", b'{"arguments": ["\xff"]}', 400, "body of the request"),
                ("application/json", b'{"arguments": [NaN]}', 400, "body of the request"),
            ):
                found = await http.post(url, content=content, headers={"content-type": kind})
                assert found.status_code == status, found.text
                assert found.headers["content-type"] == "application/problem+json"
                assert text in found.json()["detail"], found.text
            missing = await http.get("/nowhere")
            assert (missing.status_code, missing.json()["type"]) == (404, "NotFound")
            wrong = await http.delete(f"{BASE}/instances")
            assert wrong.status_code == 405
            assert {*wrong.headers["allow"].split(", ")} == {"GET", "HEAD"}
            other = await http.get("/api/v1/namespaces/other/instances")
            assert (other.status_code, other.json()["type"]) == (404, "NamespaceNotFound")
            assert json.loads(other.content)["retryable"] is False

    asyncio.run(main())
