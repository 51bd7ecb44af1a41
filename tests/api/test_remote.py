"""``Client("http://...")``: the same client over HTTP, and what is different on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    CommandRejected,
    InvalidArgument,
    NamespaceNotFound,
    RequestError,
    Settings,
    ShardUnavailable,
    Worker,
    WorkflowNotFound,
)
from processor.api import HttpOptions
from processor.codec.records import encode
from processor.core.data.cause import NamedRequest, Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.questions import DescribeRun
from tests.api.serving import BASE, CODE, Basket, asked, at_port
from tests.cli.conftest import Invoke, Processor, invoke, processor
from tests.embedded.approval import echo
from tests.embedded.test_handlers import test_signals_are_taken_in_their_order_and_queries_see_them
from tests.embedded.test_keys import test_a_signal_has_a_key_of_its_workflow_id
from tests.embedded.test_search import (
    test_a_query_finds_all_runs_of_a_chain,
    test_more_runs_than_a_page,
    test_runs_are_found_as_soon_as_they_are_acknowledged,
    test_what_is_wrong_is_said_at_the_call,
)
from tests.embedded.test_updates import (
    test_a_bug_in_a_handler_parks_the_run_and_who_waits_hears_of_it,
    test_an_id_makes_an_update_count_once_also_after_the_end,
)
from tests.embedded.test_values import (
    test_a_value_is_read_and_waited_for_also_after_the_end,
    test_each_newer_value_is_seen_along_a_chain,
    test_who_waits_when_the_run_ends_is_told,
)

__all__ = (
    "invoke",
    "processor",
    "test_a_bug_in_a_handler_parks_the_run_and_who_waits_hears_of_it",
    "test_a_query_finds_all_runs_of_a_chain",
    "test_a_signal_has_a_key_of_its_workflow_id",
    "test_a_value_is_read_and_waited_for_also_after_the_end",
    "test_an_id_makes_an_update_count_once_also_after_the_end",
    "test_each_newer_value_is_seen_along_a_chain",
    "test_more_runs_than_a_page",
    "test_runs_are_found_as_soon_as_they_are_acknowledged",
    "test_signals_are_taken_in_their_order_and_queries_see_them",
    "test_what_is_wrong_is_said_at_the_call",
    "test_who_waits_when_the_run_ends_is_told",
)

QUICK = Settings(request_timeout_s=1)


@pytest.fixture
def serving(tmp_path: Path) -> Callable[..., None]:
    """Run a test of another file with a client over HTTP."""

    def serve(work: Callable[[Any], Awaitable[None]], *workflows: Any, entities: Any = ()) -> None:
        async def main() -> None:
            code: Any = {"workflows": workflows, "activities": [echo], "entities": entities}
            worker = Worker(f"embedded:{tmp_path}", **code, http=HttpOptions(port=0))
            async with worker, Client(worker.http_url) as client:
                await work(client)

        asyncio.run(main())

    return serve


def test_what_a_client_asks_is_done_over_http(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_port(tmp_path) as (http, _, _), Client(str(http.base_url)) as client:
            assert await client.run("greet", "Ada", id="g") == "Hello, Ada!"
            handle = await client.start(Basket.run, "ada", id="b", attributes={"sum": 2.5})
            await handle.signal(Basket.add, "apple")
            assert await handle.query(Basket.items) == ["apple"]
            assert [run.workflow_id async for run in client.list()] == ["b", "g"]
            assert (await client.entity("Account", "a").call("deposit", 5)) == 5
            await client.schedules.create("greet", "x", id="s", cron="@daily")
            assert [each.id async for each in client.schedules.list()] == ["s"]
            with pytest.raises(WorkflowNotFound):
                await client.handle("none").describe()
            with pytest.raises(CommandRejected):
                await client.handle("g").signal("add")
            assert [run.workflow_id async for run in client.list("sum > 2")] == ["b"]
            with pytest.raises(InvalidArgument, match=r"a value has to stand here \(column 7\)"):
                await client.count("sum > ")

    asyncio.run(main())


class Cuts:
    """Passes bytes on to a server, and cuts connections once the server has answered."""

    def __init__(self, port: int, times: int) -> None:
        self._port = port
        self.left = times

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        sending = asyncio.create_task(self._pass(reader, back))
        try:
            while data := await there.read(65_536):
                if self.left and b"octet-stream" in data:
                    self.left -= 1
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            sending.cancel()
            back.close()
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


def test_a_request_whose_answer_was_lost_counts_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with at_port(tmp_path) as (_, own, port):
            await own.start(Basket.run, "ada", id="b")
            cuts = Cuts(port, 3)
            server = await asyncio.start_server(cuts, "127.0.0.1", 0)
            at = server.sockets[0].getsockname()[1]
            async with Client(f"http://127.0.0.1:{at}") as client:
                await client.handle("b").signal("add", "apple")
                assert cuts.left == 0
                assert await own.handle("b").query("items") == ["apple"]
            server.close()
            await server.wait_closed()

    asyncio.run(main())


def test_who_is_not_there_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ShardUnavailable, match=r"no HTTP API answers at .* processor dev"):
            async with Client("http://127.0.0.1:9", settings=QUICK):
                pass
        async with at_port(tmp_path) as (http, _, _):
            with pytest.raises(NamespaceNotFound, match="has namespace 'default'"):
                async with Client(str(http.base_url), namespace="other"):
                    pass
            client = Client(str(http.base_url), settings=QUICK)
            async with client:
                pass
            with pytest.raises(Exception, match="the client was closed"):
                await client.handle("b").describe()

    asyncio.run(main())


def test_a_token_of_the_environment_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "auth.toml"
    names = {"admin": "admin", "operator": "operator"}
    file.write_text(
        "".join(
            f'[[tokens]]\nname = "{name}"\nsha256 = "{sha256(name.encode()).hexdigest()}"\n'
            f'roles = ["{role}"]\n'
            for name, role in names.items()
        )
    )

    async def main() -> None:
        async with at_port(tmp_path, auth=file) as (http, _, _):
            with pytest.raises(RequestError, match="PROCESSOR_TOKEN"):
                async with Client(str(http.base_url)):
                    pass
            monkeypatch.setenv("PROCESSOR_TOKEN", "admin")
            async with Client(str(http.base_url)) as client:
                assert await client.run("greet", "Ada") == "Hello, Ada!"
            monkeypatch.setenv("PROCESSOR_TOKEN", "operator")
            async with Client(str(http.base_url)) as client:
                with pytest.raises(RequestError, match="operator has no permission to admin"):
                    await client.run("greet", "Ada")

    asyncio.run(main())


GOOD = ClientCommand("b", DescribeRun())


@pytest.mark.parametrize(
    ("content", "query", "status"),
    [
        (encode(GOOD), "", 200),
        (encode(replace(GOOD, cause=NamedRequest("x"))), "", 200),
        (encode(GOOD), "?partition=0", 200),
        (encode(GOOD), "?partition=1", 400),
        (encode(GOOD), "?partition=-1", 400),
        (encode(GOOD)[:-1], "", 422),
        (encode(GOOD) + b"x", "", 422),
        (b"", "", 422),
        (b"{}", "", 422),
        (b"\xc3\x01" + b"\0" * 100, "", 422),
        (encode(replace(GOOD, body=RaiseEvent("e"), cause=Origin(b"o" * 16, 0, 1, 1))), "", 400),
    ],
)
def test_a_command_that_is_none_is_refused(
    tmp_path: Path, content: bytes, query: str, status: int
) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (http, client):
            await client.start(Basket.run, "ada", id="b")
            found = await http.post(f"{BASE}/commands{query}", content=content)
            assert found.status_code == status, found.text
            assert len(await client.handle("b").history()) == 3

    asyncio.run(main())


@pytest.mark.parametrize(
    ("server", "given", "text"),
    [
        ("http://", {}, "the URL of an HTTP API"),
        ("http://ada:secret@localhost", {}, "the URL of an HTTP API"),
        ("http://localhost?x=1", {}, "the URL of an HTTP API"),
        ("http://[", {}, "the URL of an HTTP API"),
        ("http://localhost:99999", {}, "the URL of an HTTP API"),
        ("http://localhost\0", {}, "the URL of an HTTP API"),
        ("http://localhost", {"kafka": {"client.id": "x"}}, "have no effect"),
    ],
)
def test_a_server_that_is_no_api_is_refused(server: str, given: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidArgument, match=text) as raised:
        Client(server, **given)
    assert "secret" not in str(raised.value)
    with pytest.raises(InvalidArgument, match="serves clients and no workers"):
        Worker("http://localhost:8233", **CODE)


def test_the_command_line_reaches_dev_from_another_terminal(
    processor: Processor, invoke: Invoke
) -> None:
    dev = processor("dev", "--state=state", "--port=0")
    assert dev.stderr is not None
    line = next(each for each in dev.stderr if "the HTTP API is at" in each)
    server = ("--server", line.rpartition(" ")[2].strip())
    order = '{"id": "A-1", "amount": 10, "follow_up_s": 0.01}'
    ran = invoke("run", "order_processing", order, "--id=A-1", *server)
    assert ran.output == "Order processing completed successfully!\n"
    assert "order_processing" in invoke("list", *server).stdout
    assert invoke("describe", "none", *server).exit_code == 3
    assert "WorkflowStarted" in invoke("history", "A-1", *server).stdout
    dev.terminate()
    dev.communicate(timeout=60)
