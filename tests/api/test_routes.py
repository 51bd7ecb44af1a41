"""The routes over an embedded worker: what each verb of the client is over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from processor import Client, ShardUnavailable, workflow
from processor.api import app as api_app
from processor.core.records.answers import ReplyBody
from tests.api.serving import BASE, Account, Basket, asked, slow

Work = Callable[[httpx.AsyncClient, Client], Awaitable[None]]


def over_http(path: Path, work: Work, **code: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(120), asked(path, **code) as (http, client):
            await work(http, client)

    asyncio.run(main())


def test_a_start_answers_where_the_run_is(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        body = {
            "arguments": ["Ada", 2],
            "id": "a",
            "memo": {"by": "test"},
            "attributes": {"sum": 2.5},
        }
        found = await http.post(f"{BASE}/workflows/greet/runs", json=body)
        assert found.status_code == 202
        assert found.headers["retry-after"] == "1"
        told = found.json()
        assert (told["id"], told["created"]) == ("a", True)
        assert found.headers["location"] == told["urls"]["result"]
        result = await http.get(found.headers["location"] + "&wait=30")
        assert result.json() == {"result": "Hello, Ada!Hello, Ada!"}
        run = (await http.get(told["urls"]["describe"])).json()
        assert (run["status"], run["memo"]) == ("completed", {"by": "test"})
        assert run["attributes"] == {"sum": 2.5}
        again = await http.post(f"{BASE}/workflows/greet/runs", json={**body, "reuse": "reject"})
        assert (again.status_code, again.json()["type"]) == (409, "WorkflowAlreadyStarted")

    over_http(tmp_path, work)


def test_a_start_counts_once_with_its_key(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        url, headers = f"{BASE}/workflows/Basket/runs", {"idempotency-key": "order-7"}
        first = await http.post(url, json={"arguments": ["ada"]}, headers=headers)
        second = await http.post(url, json={"arguments": ["ada"]}, headers=headers)
        assert first.json()["run_id"] == second.json()["run_id"]
        assert [first.json()["created"], second.json()["created"]] == [True, False]
        assert first.json()["id"] == "Basket/order-7"
        other = f"{BASE}/workflows/greet/runs"
        body = {"arguments": ["ada"], "id": "Basket/order-7"}
        found = await http.post(other, json=body, headers=headers)
        assert (found.status_code, found.json()["type"]) == (422, "KeyReused")
        key: Any = {"idempotency-key": "é-1".encode()}  # as curl sends it
        found = await http.post(other, json={"arguments": ["ada"]}, headers=key)
        assert found.json()["id"] == "greet/é-1"
        put = f"{BASE}/workflows/Basket/runs/b"
        made = [await http.put(put, json={"arguments": ["bob"]}) for _ in range(2)]
        assert [each.json()["created"] for each in made] == [True, False]

    over_http(tmp_path, work)


def test_a_result_that_is_waited_for_comes_with_the_answer(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        wait = {"prefer": "respond-async, wait=30"}
        url = f"{BASE}/workflows/greet/runs"
        found = await http.post(url, json={"arguments": ["Ada"]}, headers=wait)
        assert (found.status_code, found.json()["result"]) == (200, "Hello, Ada!")
        assert found.headers["preference-applied"] == "wait=30"
        for prefer, applied in (
            (["respond-async", "wait=30"], "wait=30"),
            (["wait=99999999"], "wait=60"),
            (["wait=-1"], None),
            (["wait=soon"], None),
        ):
            preferred = [("prefer", each) for each in prefer]
            found = await http.post(url, json={"arguments": ["Ada"]}, headers=preferred)
            assert found.headers.get("preference-applied") == applied, prefer
        failed = await http.post(
            f"{BASE}/workflows/refuses/runs", json={"arguments": ["no"]}, headers=wait
        )
        assert (failed.status_code, failed.json()["type"]) == (424, "WorkflowFailed")
        assert failed.json()["cause"] == {"type": "Refused", "message": "no"}
        assert failed.json()["urls"]["describe"].startswith("http://localhost:8233/api/")
        body = {"arguments": ["ada"], "id": "open"}
        url = f"{BASE}/workflows/Basket/runs"
        late = await http.post(url, json=body, headers={"prefer": "wait=0.1"})
        assert (late.status_code, late.json()["created"]) == (202, True)
        waiting = await http.get(f"{BASE}/instances/open/result?wait=0.1")
        assert (waiting.status_code, waiting.json()) == (202, {"status": "running"})
        assert waiting.headers["location"].endswith("/instances/open/result")

    over_http(tmp_path, work)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"delay": -1}, 400, "delay"),
        ({"delay": 1, "cron": "@daily"}, 400, "give one of delay, at and cron"),
        ({"cron": "so often"}, 400, "cron"),
        ({"reuse": "never"}, 400, "reuse"),
        ({"id": ""}, 400, "1 to 1,000 bytes"),
        ({"id": "@Account@ada"}, 400, "@"),
        ({"retry": {"coefficient": 0.5}}, 400, "coefficient"),
        ({"retry": {"maximum_attempts": 2, "more": 1}}, 400, "more"),
        ({"arguments": ["x" * 1_200_000]}, 413, "1,000,000"),
    ],
)
def test_what_a_start_cannot_take_is_told(
    tmp_path: Path, body: dict[str, Any], status: int, text: str
) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        found = await http.post(f"{BASE}/workflows/greet/runs", json=body)
        assert found.status_code == status, found.text
        assert text in found.text

    over_http(tmp_path, work)


def test_a_workflow_that_no_worker_has_is_told(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        found = await http.post(f"{BASE}/workflows/nobody/runs", json={})
        assert (found.status_code, found.json()["type"]) == (404, "WorkflowNotRegistered")

    over_http(tmp_path, work)


@pytest.mark.parametrize(
    "id",
    ["a/b", "history", "a/history", "ü", "a b", "a%2Fb", "a.b", "...", "?x=1", "#", "a+b", "\n",
     "🦊", "result/watch", "cancel", "%", "&", "a;b", "x" * 900, ".", ".."],
)  # fmt: skip
def test_an_id_of_any_kind_names_its_run_and_no_route(tmp_path: Path, id: str) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        part = quote(id, safe="") if id.strip(".") or id == "..." else id.replace(".", "%2E")
        url = f"{BASE}/workflows/Basket/runs/{part}"
        made = (await http.put(url, json={"arguments": ["ada"]})).json()
        assert made["id"] == id
        run = await http.get(made["urls"]["describe"])
        assert (run.status_code, run.json()["workflow_id"]) == (200, id)
        assert (await http.get(made["urls"]["history"])).status_code == 200
        at = f"{BASE}/instances/{part}"
        event = await http.post(f"{at}/events/{quote('a/b', safe='')}", json=1)
        assert event.status_code == 202
        history = (await http.get(f"{at}/history")).json()
        assert history["items"][0]["type"] == "WorkflowStarted"
        done = await http.post(f"{at}/cancel")
        assert done.json() == {"changed": True}

    over_http(tmp_path, work)


def test_signals_queries_and_updates_reach_the_run(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        at = f"{BASE}/instances/b"
        signal = {"name": "add", "arguments": ["pear"]}
        start = {"arguments": ["ada"], "id": "b", "signal": signal}
        await http.post(f"{BASE}/workflows/Basket/runs", json=start)
        body = {"arguments": ["apple", 2]}
        assert (await http.post(f"{at}/signals/add", json=body)).status_code == 202
        once = {"idempotency-key": "k"}
        for _ in range(2):
            await http.post(f"{at}/events/add", json="plum", headers=once)
        items = await http.post(f"{at}/queries/items")
        assert items.json() == {"result": ["pear", "apple", "apple", "plum"]}
        odd = await http.post(f"{at}/queries/nothing")
        assert (odd.status_code, odd.json()["type"]) == (424, "QueryFailed")
        gone = await http.post(f"{at}/updates/remove", json={"arguments": ["pear"], "id": "u"})
        assert (gone.status_code, gone.json()["result"]) == (200, 3)
        again = await http.get(f"{at}/updates/u?wait=5")
        assert again.json()["result"] == 3
        early = await http.post(f"{at}/updates/remove?stage=accepted", json={"arguments": ["plum"]})
        assert early.status_code == 202
        after = await http.get(early.headers["location"] + "&wait=5")
        assert after.json()["result"] == 2
        failed = await http.post(f"{at}/updates/remove", json={"arguments": ["pear"]})
        assert (failed.status_code, failed.json()["cause"]["message"]) == (424, "no pear")
        none = await http.get(f"{at}/updates/none")
        assert (none.status_code, none.json()["type"]) == (404, "UpdateNotFound")
        value = await http.get(f"{at}/values/owner?wait=5")
        assert value.json() == {"value": "ada"}
        late = await http.get(f"{at}/values/other?wait=0.05")
        assert (late.status_code, late.json()["retryable"]) == (504, True)
        await http.post(f"{at}/signals/pay")
        assert (await client.handle("b").result()) == ["apple", "apple"]
        unset = await http.get(f"{at}/values/other?wait=5")
        assert (unset.status_code, unset.json()["type"]) == (404, "ValueNotSet")

    over_http(tmp_path, work)


def test_where_nobody_answers_it_is_told_so_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: Any, timeout_s: float, **__: Any) -> ReplyBody:
        await asyncio.sleep(timeout_s)
        raise ShardUnavailable("no worker answered")

    async def main() -> None:
        async with asyncio.timeout(60), asked(tmp_path) as (http, client):
            await client.start(Basket.run, "ada", id="b")
            monkeypatch.setattr(client._calls.gateway, "request", silent)
            settings = replace(client._calls.settings, request_timeout_s=0.5)
            monkeypatch.setattr(client._calls, "settings", settings)
            of_run = f"{BASE}/instances/b"
            for call in (
                http.post(f"{of_run}/queries/items", json={}),
                http.get(f"{of_run}/updates/nobody-knows", params={"wait": 0.1}),
                http.get(f"{of_run}/result", params={"wait": 0.1}),
            ):
                async with asyncio.timeout(10):
                    answer = await call
                assert (answer.status_code, answer.json()["type"]) == (503, "ShardUnavailable")

    asyncio.run(main())


def test_a_run_that_has_ended_takes_nothing_more(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.run("greet", "x", id="g")
        at = f"{BASE}/instances/g"
        for verb in ("events/e", "signals/add", "updates/remove", "start-now"):
            found = await http.post(f"{at}/{verb}")
            assert (found.status_code, found.json()["type"]) == (410, "RunClosed"), found.text
        assert (await http.post(f"{at}/cancel")).json() == {"changed": False}
        for verb in ("events/e", "cancel", "updates/remove", "queries/q", "start-now"):
            found = await http.post(f"{BASE}/instances/none/{verb}")
            assert (found.status_code, found.json()["type"]) == (404, "WorkflowNotFound")
        for verb in ("suspend", "resume", "restart", "rewind", "reset", "purge"):
            found = await http.post(f"{at}/{verb}")
            assert (found.status_code, found.json()["type"]) == (501, "NotThereYet")
        assert (await http.post(f"{at}/nonsense")).status_code == 404

    over_http(tmp_path, work)


def test_a_run_is_terminated_with_an_output(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.start(Basket.run, "ada", id="b")
        body = {"reason": "enough", "output": {"held": 0}}
        done = await http.post(f"{BASE}/instances/b/terminate", json=body)
        assert (done.status_code, done.json()) == (202, {"changed": True})
        run = (await http.get(f"{BASE}/instances/b")).json()
        assert (run["status"], run["result"]) == ("terminated", {"held": 0})
        result = await http.get(f"{BASE}/instances/b/result")
        assert (result.status_code, result.json()["type"]) == (424, "WorkflowTerminated")

    over_http(tmp_path, work)


def test_lists_and_histories_come_in_pages(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        for number in range(5):
            await client.run("greet", "x", id=f"g{number}")
        await client.start(Basket.run, "ada", id="b")
        seen: list[str] = []
        cursor = ""
        while True:
            url = f"{BASE}/instances?limit=2&workflow=greet{cursor}"
            page = (await http.get(url)).json()
            seen += [run["workflow_id"] for run in page["items"]]
            if page["cursor"] is None:
                break
            cursor = f"&cursor={quote(page['cursor'])}"
        assert seen == [f"g{number}" for number in range(5)]
        running = (await http.get(f"{BASE}/instances?status=running")).json()
        assert [run["workflow_id"] for run in running["items"]] == ["b"]
        for bad in ("cursor=x", "cursor=OTk6", "status=odd", "limit=0", "limit=x", "more=1"):
            found = await http.get(f"{BASE}/instances?{bad}")
            assert (found.status_code, found.json()["type"]) == (400, "InvalidArgument"), bad
        for item in ("a", "b", "c"):
            await client.handle("b").raise_event("add", item)
        all_events = await client.handle("b").history()
        numbers: list[int] = []
        after = ""
        while True:
            page = (await http.get(f"{BASE}/instances/b/history?limit=2{after}")).json()
            numbers += [event["number"] for event in page["items"]]
            if page["after"] is None:
                break
            after = f"&after={page['after']}"
        assert numbers == [event.number for event in all_events]
        for number in numbers:  # inside of a turn as well as between two
            page = (await http.get(f"{BASE}/instances/b/history?after={number}")).json()
            assert [event["number"] for event in page["items"]] == numbers[number + 1 :]

    over_http(tmp_path, work)


def test_queries_find_and_count_runs(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        for number in range(3):
            await client.run("greet", "x", id=f"g{number}", attributes={"customer": "ada"})
        await client.start(Basket.run, "bob", id="b", attributes={"customer": "bob"})
        params = {"query": "customer = 'ada' ORDER BY id", "limit": "2"}
        seen: list[str] = []
        while True:
            page = (await http.get(f"{BASE}/instances", params=params)).json()
            seen += [run["workflow_id"] for run in page["items"]]
            if page["cursor"] is None:
                break
            params["cursor"] = page["cursor"]
        assert sorted(seen) == ["g0", "g1", "g2"]
        params = {"query": "GROUP BY customer"}
        found = (await http.get(f"{BASE}/count", params=params)).json()
        assert found["count"] == 4
        groups = [(each["values"], each["count"]) for each in found["groups"]]
        assert groups == [(["ada"], 3), (["bob"], 1)]
        for odd in ({"query": "customer ="}, {"query": "customer = 'a'", "status": "failed"},
                    {"query": "customer = 'ada'", "cursor": "x"}):  # fmt: skip
            wrong = await http.get(f"{BASE}/instances", params=odd)
            assert (wrong.status_code, wrong.json()["type"]) == (400, "InvalidArgument"), odd

    over_http(tmp_path, work)


def test_a_long_poll_ends_with_the_next_event(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        handle = await client.start(Basket.run, "ada", id="b")
        at = f"{BASE}/instances/b"
        before = await http.get(at)
        tag = before.headers["etag"]
        for tags, status in (
            (tag, 304),
            (f"W/{tag}", 304),
            (f'"x", {tag}', 304),
            ("*", 304),
            ('"x"', 200),
        ):
            same = await http.get(at, headers={"if-none-match": tags})
            assert same.status_code == status, tags
            assert (same.content == b"") == (status == 304)
        early = await http.get(f"{at}?wait=0.2")
        assert early.json()["events"] == before.json()["events"]
        last = before.json()["events"] - 1
        waiting = asyncio.create_task(http.get(f"{at}?wait=60&after={last}"))
        await asyncio.sleep(0.05)
        await handle.raise_event("add", "apple")
        after = await waiting
        assert after.json()["events"] > before.json()["events"]
        assert after.headers["etag"] != before.headers["etag"]
        waiting = asyncio.create_task(http.get(f"{at}/result?wait=60"))
        await handle.raise_event("pay")
        assert (await waiting).json() == {"result": ["apple"]}
        odd = await http.get(f"{at}/result?wait=-1")
        assert odd.status_code == 400

    over_http(tmp_path, work)


def test_no_request_takes_longer_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_app, "_GRACE_S", -59.9)  # of a wait of 60 s

    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.start(Basket.run, "ada", id="b")
        found = await http.get(f"{BASE}/instances/b/result?wait=60")
        assert (found.status_code, found.json()["retryable"]) == (504, True)
        assert "no answer within 0.1 s" in found.json()["detail"]

    over_http(tmp_path, work)


def test_entities_are_called_and_signalled(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        at = f"{BASE}/entities/Account/{quote('a/b', safe='')}"
        none = await http.get(f"{at}/state")
        assert none.json() == {"state": None}
        once = {"idempotency-key": "k"}
        for _ in range(2):
            found = await http.post(f"{at}/calls/deposit", json={"arguments": [5]}, headers=once)
            assert found.json() == {"result": 5}
        await http.post(f"{at}/signals/deposit", json={"arguments": [2]})
        assert (await http.post(f"{at}/calls/deposit", json={"arguments": [1]})).json() == {
            "result": 8
        }
        assert (await http.get(f"{at}/state")).json() == {"state": {"balance": 8}}
        assert (await http.get(at)).json()["workflow_id"] == "@Account@a/b"
        assert (await http.post(f"{at}/cancel")).json() == {"changed": False}
        assert (await http.post(f"{at}/unlock")).json() == {"changed": False}
        odd = await http.post(f"{at}/calls/nothing")
        assert (odd.status_code, odd.json()["type"]) == (422, "UpdateRejected")
        assert (await client.entity(Account, "a/b").state()) is not None

    over_http(tmp_path, work)


@workflow.define
async def waits_for_key() -> str:
    await workflow.correlate("shipment", "S-7")
    return await workflow.wait_for_event("shipped", str)


def test_business_keys_are_signalled(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        at = f"{BASE}/correlations/shipment/S-7"
        body = {"arguments": ["now"], "keep": 60}
        assert (await http.post(f"{at}/signals/shipped", json=body)).status_code == 202
        kept = (await http.get(at)).json()
        assert (kept["holder"], [each["value"] for each in kept["kept"]]) == (None, ["now"])
        handle = await client.start(waits_for_key)
        assert await handle.result() == "now"
        assert (await http.delete(at)).json() == {"holder": None}

    over_http(tmp_path, work, workflows=[waits_for_key])


@workflow.define
async def waits_for_others() -> list[str]:
    promise = workflow.promise()
    workflow.set_value("promise", promise.id)
    done = await slow("x")
    return [done, await promise]


def test_activities_and_promises_are_ended_from_elsewhere(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        handle = await client.start(waits_for_others, id="w")
        pending: Any = []
        while not pending:
            pending = (await handle.describe()).pending["activities"]
        number = pending[0]["id"]
        at = f"{BASE}/instances/w/activities/{number}"
        for verb, body in (("pause", {"reason": "r"}), ("resume", {}), ("reset", {})):
            found = await http.post(f"{at}/{verb}", json=body)
            assert found.status_code == 202, found.text
        assert (await http.post(f"{at}/retry-now")).status_code in (202, 409)
        assert (await http.post(f"{BASE}/instances/w/activities/x/pause")).status_code == 400
        promise = await handle.value("promise")
        settled = await http.post(f"{BASE}/promises/{promise}/resolve", json="y")
        assert settled.status_code == 202
        again = await http.post(f"{BASE}/promises/{promise}/reject", json={"message": "no"})
        assert (again.status_code, again.json()["type"]) == (410, "PromiseNotOpen")
        await client.complete(("w", number), "x")
        assert await handle.result() == ["x", "y"]
        for verb in ("complete", "heartbeat", "cancelled"):
            odd = await http.post(f"{BASE}/activities/none/{verb}")
            assert odd.status_code == 400

    over_http(tmp_path, work, workflows=[waits_for_others], activities=[slow])


def test_schedules_are_made_and_changed(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        at = f"{BASE}/schedules/nightly"
        body = {"id": "nightly", "workflow": "greet", "arguments": ["Ada"], "cron": "0 3 * * *"}
        made = await http.post(f"{BASE}/schedules", json=body)
        assert (made.status_code, made.json()) == (201, {"id": "nightly"})
        assert made.headers["location"].endswith("/schedules/nightly")
        assert (await http.post(f"{BASE}/schedules", json=body)).status_code == 409
        found = (await http.get(at)).json()
        assert (found["workflow"], found["args"], len(found["next"])) == ("greet", ["Ada"], 10)
        changes = {"calendars": [{"hour": "9"}], "tz": "Europe/Berlin"}
        assert (await http.put(at, json=changes)).json() == {"changed": True}
        odd = await http.put(at, json={"calendars": [{"our": "9"}]})
        assert odd.status_code == 400
        assert (await http.post(f"{at}/pause", json={"note": "n"})).json() == {"changed": True}
        run = await http.post(f"{at}/trigger")
        assert run.status_code == 202
        assert await client.handle(run.json()["id"]).result() == "Hello, Ada!"
        assert (await http.post(f"{at}/resume")).json() == {"changed": True}
        span = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
        assert (await http.post(f"{at}/backfill", json=span)).json() == {"runs": 1}
        listed = (await http.get(f"{BASE}/schedules")).json()
        assert [each["id"] for each in listed["items"]] == ["nightly"]
        assert (await http.delete(at)).json() == {"changed": True}
        assert (await http.get(at)).status_code == 404

    over_http(tmp_path, work)
