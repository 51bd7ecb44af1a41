"""What comes on a connection: a trailer is no header, and what is no request is told."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from processor import Client
from tests.api.serving import BASE, Basket, at_port
from tests.api.test_auth import PROXY
from tests.api.test_server import talk

EVENT = f"POST {BASE}/instances/b/events/add HTTP/1.1\r\nhost: localhost\r\n".encode()
JSON = b"content-type: application/json\r\n"
UPGRADE = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\n"
ADA = b"x-forwarded-user: ada\r\n"
CANCEL = (
    f"POST {BASE}/instances/b/cancel HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".encode()
    + ADA
    + b"\r\n"
)


async def sent(client: Client) -> list[str]:
    """Return what has reached the run since it began."""
    events = await client.handle("b").history()
    return [each.type for each in events if each.type.startswith(("Event", "WorkflowCancel"))]


@pytest.mark.parametrize("trailer", [ADA, b"host: localhost\r\n" + ADA, b"x: y\r\n"])
def test_a_trailer_is_no_header(tmp_path: Path, trailer: bytes) -> None:
    """A proxy takes a header off what comes from outside, and may let a trailer pass."""
    file = tmp_path / "auth.toml"
    file.write_text(PROXY.format(trusted="127.0.0.0/8"))
    head = EVENT + JSON + b"connection: close\r\ntransfer-encoding: chunked\r\n"

    async def main() -> None:
        async with asyncio.timeout(120), at_port(tmp_path, auth=file) as (_, client, port):
            await client.start(Basket.run, "ada", id="b")
            body = b'7\r\n"apple"\r\n0\r\n' + trailer + b"\r\n"
            assert b" 401 " in await talk(port, head + b"\r\n" + body)
            assert await sent(client) == []
            assert b" 202 " in await talk(port, head + ADA + b"\r\n" + body)
            assert await sent(client) == ["EventReceived"]

    asyncio.run(main())


@pytest.mark.parametrize(
    "request_",
    [
        EVENT + JSON + UPGRADE + b'content-length: 7\r\n\r\n"apple"',
        EVENT + JSON + UPGRADE + b'transfer-encoding: chunked\r\n\r\n7\r\n"apple"\r\n0\r\n\r\n',
        EVENT + JSON + UPGRADE + b"content-length: %d\r\n\r\n" % len(CANCEL),
    ],
)
def test_a_body_behind_an_upgrade_is_not_lost_and_is_no_request(
    tmp_path: Path, request_: bytes
) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), at_port(tmp_path, idle_s=1) as (_, client, port):
            await client.start(Basket.run, "ada", id="b")
            found = await talk(port, request_, CANCEL, pause_s=0.1)
            assert found.count(b"HTTP/1.1 ") <= 1 and b" 202 " not in found
            assert not found or b"send a body without Upgrade" in found, "or it is cut"
            assert await sent(client) == []

    asyncio.run(main())


def test_a_request_that_would_upgrade_is_the_last_of_its_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), at_port(tmp_path) as (_, client, port):
            await client.start(Basket.run, "ada", id="b")
            head = f"GET {BASE}/instances/b HTTP/1.1\r\nhost: localhost\r\n".encode()
            for length in (b"", b"content-length: 0\r\n"):
                found = await talk(port, head + UPGRADE + length + b"\r\n" + CANCEL)
                assert found.startswith(b"HTTP/1.1 200 ") and found.count(b"HTTP/1.1 ") == 1
                assert b"connection: close" in found
            assert await sent(client) == []

    asyncio.run(main())


WAITS = (
    f"POST {BASE}/workflows/Basket/runs HTTP/1.1\r\nhost: localhost\r\nprefer: wait=30\r\n".encode()
    + JSON
)
BODY = b'{"id": "b", "arguments": ["ada"]}'


@pytest.mark.parametrize(
    ("more", "status", "why"),
    [
        (b"garbage\r\n\r\n", 400, "no request of HTTP/1.1"),
        (b"GET /" + b"a" * 90_000, 431, "64000 bytes of headers"),
        (EVENT * 2 + b"\r\n", 400, "no request of HTTP/1.1"),
        (EVENT + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400, "no request of HTTP/1.1"),
        ((EVENT + b"content-length: 0\r\n\r\n") * 20, 400, "too many requests at once"),
    ],
    ids=["no request", "a head without end", "a bad head", "a bad body", "too many"],
)
def test_what_was_asked_before_is_answered_before(
    tmp_path: Path, more: bytes, status: int, why: str
) -> None:
    """Answers come in the order of requests: a start that was made is not told to be a bad one."""

    async def main() -> None:
        async with asyncio.timeout(120), at_port(tmp_path, head_s=2) as (_, client, port):
            start = WAITS + b"content-length: %d\r\n\r\n" % len(BODY) + BODY
            talking = asyncio.create_task(talk(port, start, more))
            while not [run async for run in client.list()]:
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.3)
            await client.handle("b").signal(Basket.pay)
            first, *others = re.split(rb"HTTP/1\.1 (?=\d)", await talking)[1:]
            assert first.startswith(b"200 ") and b'"result":[]' in first
            *answers, last = others
            assert all(each.startswith((b"202 ", b"410 ")) for each in answers), answers
            head, _, body = last.partition(b"\r\n\r\n")
            assert b"application/problem+json" in head and b"connection: close" in head
            told = json.loads(body)
            assert (told["status"], told["retryable"]) == (status, False)
            assert head.startswith(b"%d " % status) and why in told["detail"]

    asyncio.run(main())


def test_what_is_no_request_is_told_what_is_wrong_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), at_port(tmp_path) as (_, _, port):
            path = f"GET {BASE}/instances/größe HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
            found = (await talk(port, path)).decode()
            assert "is percent-encoded" in found and '"type":"BadRequest"' in found
            odd = await talk(port, b"BREW / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"Invalid method" in odd

    asyncio.run(main())


@pytest.mark.parametrize("size", [90_000, 200_000])
def test_headers_have_their_bound_also_where_they_come_at_once(tmp_path: Path, size: int) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), at_port(tmp_path) as (_, _, port):
            head = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx: "
            found = await talk(port, head + b"y" * size + b"\r\n\r\n")
            assert not found or found.startswith(b"HTTP/1.1 431 "), "or it is cut while it is sent"
            fits = await talk(port, head + b"y" * 60_000 + b"\r\nconnection: close\r\n\r\n")
            assert fits.startswith(b"HTTP/1.1 200 ")

    asyncio.run(main())
