"""What stands behind a body, or behind a request for another protocol, is no header."""

from __future__ import annotations

import asyncio
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
