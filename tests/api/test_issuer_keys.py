"""Keys of an issuer of tokens: servers that hang, send elsewhere, or send what is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import jwt
import pytest

from processor.api.auth import jwts
from processor.api.auth.config import JwtIssuer
from processor.api.auth.jwts import JwtCheck
from processor.api.problems import HttpProblem
from tests.api.test_auth import KEY, signed

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
PUBLIC = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
KEYS = json.dumps({"keys": [{**PUBLIC, "kid": "one", "alg": "RS256"}]}).encode()


@asynccontextmanager
async def issuer(answer: Answer) -> AsyncIterator[tuple[JwtIssuer, list[str]]]:
    """Yield an issuer whose server answers so, and the paths that it was asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split()[1])
            await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/keys"
        yield JwtIssuer("https://id.example.com/", "processor", url), asked


def sends(body: bytes, head: str = "200 OK") -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()

    return answer


async def drips(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    for _ in range(1_000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def says_nothing(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def test_keys_of_a_server_are_taken() -> None:
    async def main() -> None:
        async with issuer(sends(KEYS)) as (given, asked):
            check = JwtCheck(given)
            for _ in range(3):
                assert (await check.claims(signed()))["sub"] == "ada"
            assert asked == ["/keys"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (drips, "TimeoutError"),
        (says_nothing, "TimeoutError"),
        (sends(b"", "302 Found\r\nlocation: /elsewhere"), "the answer is 302"),
        (sends(b"", "500 Internal Server Error"), "the answer is 500"),
        (sends(b" " * 1_000_001), "more than 1,000,000 bytes"),
        (sends(b"[" * 100_000), "recursion"),
        (sends(b'{"keys": 5}'), "keys at"),
        (sends(b'{"keys": []}'), "keys at"),
        (sends(b"[]"), "keys at"),
        (sends(b"5"), "keys at"),
        (sends(b"\xff"), "keys at"),
        (sends(b"no json"), "keys at"),
    ],
)
def test_what_is_no_keys_is_told_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answer: Answer, why: str
) -> None:
    monkeypatch.setattr(jwts, "_FETCH_S", 0.5)

    async def main() -> None:
        async with asyncio.timeout(30), issuer(answer) as (given, asked):
            with pytest.raises(HttpProblem) as raised:
                await JwtCheck(given).claims(signed())
            assert raised.value.status == 503
            assert asked == ["/keys"]

    asyncio.run(main())
    assert why in caplog.text
    assert "cannot be read" in caplog.text


def test_who_shows_a_known_key_does_not_wait_for_newer_ones() -> None:
    now = [0.0]

    async def main() -> None:
        may_answer = asyncio.Event()
        may_answer.set()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await may_answer.wait()
            await sends(KEYS)(writer)

        async with asyncio.timeout(30), issuer(answer) as (given, asked):
            check = JwtCheck(given, lambda: now[0])
            await check.claims(signed())
            may_answer.clear()
            now[0] = 601
            for _ in range(3):
                assert (await check.claims(signed()))["sub"] == "ada"
            while len(asked) < 2:
                await asyncio.sleep(0.01)
            may_answer.set()
            assert check._refreshing is not None
            await check._refreshing
            assert len(asked) == 2

    asyncio.run(main())
