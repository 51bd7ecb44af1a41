"""What a start may do to runs that are there; odd values of addresses, answers and tokens."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from processor import Client, InvalidArgument, SchemaMismatch, Settings
from processor.api import HttpOptions
from processor.api.auth.config import read_auth
from processor.api.azure_views import event_view
from processor.client import HistoryEvent
from tests.api.serving import BASE, HUSH, Basket, asked
from tests.api.test_auth import JWT, PROXY, START, TOKENS, bearer, guarded

BOTH = TOKENS.replace('roles = ["default:operator"]', 'roles = ["operator", "starter"]')


@pytest.mark.parametrize(("role", "status"), [("starter", 403), ("operator", 202), ("admin", 202)])
@pytest.mark.parametrize(
    "how", [{"signal": {"name": "add", "arguments": ["more"]}}, {"conflict": "terminate"}]
)
def test_a_start_reaches_no_run_that_its_caller_may_not_reach(
    tmp_path: Path, role: str, status: int, how: dict[str, Any]
) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        other = await client.start(Basket.run, "ada", id="b")
        body = {"id": "b", "arguments": ["eve"], **how}
        found = await http.post(START, json=body, headers=bearer(role))
        assert found.status_code == status, found.text
        run = await other.describe()
        left = run.status == "running" and await client.handle("b").query("items") == []
        assert left == (status == 403)

    guarded(tmp_path, work, BOTH)


@pytest.mark.parametrize("id", ["schedule:s", "schedule:none", "correlation:a=b"])
def test_the_ids_of_ours_are_for_an_admin(tmp_path: Path, id: str) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.schedules.create("greet", "x", id="s", cron="@daily")
        azure = f"/runtime/webhooks/durabletask/orchestrators/Basket/{id}"
        body: Any = {"arguments": ["eve"]}
        for found in (
            await http.post(START, json={**body, "id": id}, headers=bearer("starter")),
            await http.put(f"{START}/{id}", json=body, headers=bearer("starter")),
            await http.post(azure, json="eve", headers=bearer("starter")),
        ):
            assert (found.status_code, "to admin" in found.text) == (403, True)
        for found in (
            await http.post(START, json={**body, "id": id}, headers=bearer("admin")),
            await http.post(azure, json="eve", headers=bearer("admin")),
        ):
            assert found.status_code == 400, "it is of a workflow of ours, whoever asks"
            assert f"give another one than '{id}'" in found.json()["detail"]
        runs = [run.workflow async for run in client.list()]
        assert "Basket" not in runs

    guarded(tmp_path, work)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("&".join(f"a{at}=1" for at in range(101)), "has 100 fields at the most"),
        ("after=1" + "0" * 30, "Expected `int` <="),
        ("after=1" + "0" * 18, "Expected `int` <="),
    ],
)
def test_what_is_asked_without_sense_is_told_so(tmp_path: Path, query: str, text: str) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (http, client):
            await client.start(Basket.run, "ada", id="b")
            for place in ("instances/b", "instances/b/history"):
                found = await http.get(f"{BASE}/{place}?{query}")
                assert (found.status_code, found.json()["type"]) == (400, "InvalidArgument")
                assert text in found.json()["detail"]
            most = await http.get(f"{BASE}/instances/b/history?after={10**18 - 1}")
            assert most.json()["items"] == []

    asyncio.run(main())


@pytest.mark.parametrize(
    ("jwks", "is_safe"),
    [
        ("http://localhost/keys", True),
        ("http://127.0.0.1/keys", True),
        ("http://[::1]:9/keys", True),
        ("HTTPS://id.example.com/keys", True),
        ("http://localhost:9@id.example.com/keys", False),
        ("ftp://localhost:9/keys", False),
        ("://x", False),
        ("http://[", False),
    ],
)
def test_keys_are_read_where_nobody_changes_them(tmp_path: Path, jwks: str, is_safe: bool) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(JWT.format(jwks=jwks))
    if is_safe:
        found = read_auth(file)
        assert found.jwt is not None and found.jwt.jwks == jwks
    else:
        with pytest.raises(InvalidArgument, match="give an https:// URL"):
            read_auth(file)


@pytest.mark.parametrize("token", ["secret\n", "sec ret", "secret\u00e9", "secret\r\nx: y"])
def test_a_token_that_is_none_is_not_sent_and_not_told(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("PROCESSOR_TOKEN", token)

    async def main() -> None:
        with pytest.raises(InvalidArgument, match="PROCESSOR_TOKEN has a space") as raised:
            async with Client("http://127.0.0.1:9"):
                pass
        assert "sec" not in str(raised.value)

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        b"[]",
        b'{"partitions":0}',
        b'{"partitions":-1}',
        b'{"partitions":1e999}',
        b'{"partitions":2.5}',
        b'{"partitions":true}',
        b'{"partitions":1,"x":' + b"[" * 100_000,
        json.dumps({"partitions": 10**30}).encode(),
    ],
)
def test_an_answer_of_something_else_is_told(answer: bytes) -> None:
    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(answered, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(SchemaMismatch, match="is no HTTP API of processor"):
                async with Client(url, settings=Settings(request_timeout_s=30)):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("type", "field", "is_shown"),
    [
        ("WorkflowStarted", "workflow", True),
        ("ActivityScheduled", "name", True),
        ("ChildCalled", "workflow", True),
        ("EventReceived", "name", False),
        ("EventRejected", "name", False),
        ("EventDelayed", "name", False),
        ("MessageSent", "name", False),
        ("UpdateAccepted", "name", False),
    ],
)
def test_a_name_that_was_sent_is_shown_with_the_outputs_alone(
    type: str, field: str, is_shown: bool
) -> None:
    event = HistoryEvent(1, datetime(2026, 1, 1, tzinfo=UTC), type, {field: HUSH})
    assert (event_view(event, outputs=False).get("Name") == HUSH) == is_shown
    assert event_view(event, outputs=True)["Name"] == HUSH


@pytest.mark.parametrize(
    ("peer", "status"), [("::ffff:10.1.2.3", 200), ("::ffff:11.1.2.3", 401), ("::1", 401)]
)
def test_a_proxy_is_known_by_its_ipv4_address_on_ipv6_as_well(
    tmp_path: Path, peer: str, status: int
) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(PROXY.format(trusted="10.0.0.0/8"))

    async def main() -> None:
        serving = HttpOptions(auth=file)
        async with asked(tmp_path, serving) as (http, _):
            app = http._transport.app  # type: ignore[attr-defined]
            transport = httpx.ASGITransport(app, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url=http.base_url) as proxied:
                url = f"{BASE}/instances"
                found = await proxied.get(url, headers={"x-forwarded-user": "ada"})
                assert found.status_code == status

    asyncio.run(main())
