"""Azure's durable-task routes, case by case: the statuses and shapes that its clients expect."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from processor import Client, workflow
from processor.api import HttpOptions
from tests.api.serving import CODE, HUSH, Account, Basket, asked

Work = Callable[[httpx.AsyncClient, Client], Awaitable[None]]
AZURE = "/runtime/webhooks/durabletask"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
KEYS = {
    "id", "statusQueryGetUri", "sendEventPostUri", "terminatePostUri", "purgeHistoryDeleteUri",
    "restartPostUri", "suspendPostUri", "resumePostUri", "rewindPostUri",
}  # fmt: skip


@workflow.define
async def nothing() -> str:
    return "done"


def over_http(path: Path, work: Work, options: HttpOptions | None = None) -> None:
    code = {**CODE, "workflows": [*CODE["workflows"], nothing]}

    async def main() -> None:
        async with asyncio.timeout(120), asked(path, options, **code) as (http, client):
            await work(http, client)

    asyncio.run(main())


def test_a_start_answers_with_the_urls_of_the_instance(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        found = await http.post(f"{AZURE}/orchestrators/Basket/b%2F1?taskHub=default", json="ada")
        assert (found.status_code, found.headers["retry-after"]) == (202, "10")
        told = found.json()
        assert told.keys() == KEYS
        assert told["id"] == "b/1"
        assert found.headers["location"] == told["statusQueryGetUri"]
        assert "/instances/b%2F1/raiseEvent/{eventName}?" in told["sendEventPostUri"]
        assert "/instances/b%2F1/terminate?reason={text}&" in told["terminatePostUri"]
        assert "taskHub=default&connection=" in told["rewindPostUri"]
        status = await http.get(told["statusQueryGetUri"])
        assert (status.status_code, status.headers["retry-after"]) == (202, "5")
        assert status.headers["location"].startswith("http://localhost:8233/runtime/")
        view = status.json()
        assert TIME.fullmatch(view.pop("createdTime"))
        assert TIME.fullmatch(view.pop("lastUpdatedTime"))
        assert view == {
            "name": "Basket",
            "instanceId": "b/1",
            "runtimeStatus": "Running",
            "input": "ada",
            "customStatus": {"owner": "ada"},
            "output": None,
        }
        url = told["sendEventPostUri"]
        event = await http.post(url.replace("{eventName}", "add"), json="apple")
        assert (event.status_code, event.content) == (202, b"")
        await http.post(url.replace("{eventName}", "pay").replace("raiseEvent", "RAISEEVENT"))
        await client.handle("b/1").result()
        done = await http.get(told["statusQueryGetUri"])
        assert (done.status_code, done.json()["output"]) == (200, ["apple"])
        assert done.json()["runtimeStatus"] == "Completed"

    over_http(tmp_path, work)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/orchestrators/nobody", b"1", 400),
        ("POST", "/orchestrators/greet", b"{", 400),
        ("POST", "/orchestrators/greet?timeout=1", b"1", 400),
        ("POST", "/orchestrators/greet?pollingInterval=1", b"1", 400),
        ("POST", "/orchestrators/greet?taskHub=other", b"1", 404),
        ("POST", "/orchestrators/Basket/open", b"1", 409),
        ("POST", "/Orchestrators/nothing", b"", 202),
        ("GET", "/instances/none", b"", 404),
        ("GET", "/instances/open", b"", 202),
        ("GET", "/Instances/open?showInput=false", b"", 202),
        ("GET", "/instances/done", b"", 200),
        ("GET", "/instances/failed", b"", 200),
        ("GET", "/instances/failed?returnInternalServerErrorOnFailure=true", b"", 500),
        ("GET", "/instances/done?returnInternalServerErrorOnFailure=true", b"", 200),
        ("GET", "/instances/ended", b"", 200),
        ("GET", "/instances/open?showHistory=maybe", b"", 400),
        ("GET", "/instances/open?showThis=true", b"", 400),
        ("POST", "/instances/none/raiseEvent/e", b"1", 404),
        ("POST", "/instances/open/raiseEvent/e", b"1", 202),
        ("POST", "/instances/open/raiseEvent/e", b"{", 400),
        ("POST", "/instances/done/raiseEvent/e", b"1", 410),
        ("POST", "/instances/none/terminate?reason=r", b"", 404),
        ("POST", "/instances/done/terminate?reason=r", b"", 410),
        ("POST", "/instances/open/Terminate?reason=r", b"", 202),
        ("POST", "/instances/none/suspend", b"", 404),
        ("POST", "/instances/done/suspend", b"", 410),
        ("POST", "/instances/open/suspend", b"", 501),
        ("POST", "/instances/open/resume", b"", 501),
        ("POST", "/instances/failed/rewind", b"", 501),
        ("DELETE", "/instances/done", b"", 501),
        ("DELETE", "/instances?createdTimeFrom=2020-01-01T00:00:00Z", b"", 501),
        ("POST", "/instances/none/restart", b"", 400),
        ("POST", "/instances/done/restart", b"", 202),
        ("POST", "/instances/done/restart?restartWithNewInstanceId=false", b"", 202),
        ("POST", "/instances/open/restart?restartWithNewInstanceId=false", b"", 409),
        ("GET", "/instances?top=0", b"", 400),
        ("GET", "/instances?runtimeStatus=Odd", b"", 400),
        ("GET", "/instances?createdTimeFrom=yesterday", b"", 400),
        ("GET", "/entities/Account/none", b"", 404),
        ("GET", "/entities/Account/ada", b"", 200),
        ("POST", "/entities/Account/ada?op=deposit", b"5", 202),
        ("POST", "/entities/Account/ada", b"5", 400),
    ],
)
def test_each_call_has_the_status_that_their_clients_expect(
    tmp_path: Path, method: str, path: str, body: bytes, status: int
) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.start(Basket.run, "ada", id="open")
        await client.run("greet", "Ada", id="done")
        with pytest.raises(Exception, match="no"):
            await client.run("refuses", "no", id="failed")
        ended = await client.start(Basket.run, "ada", id="ended")
        await ended.terminate("enough")
        await client.entity(Account, "ada").call(Account.deposit, 1)
        headers = {"content-type": "application/json"} if body else {}
        found = await http.request(method, AZURE + path, content=body, headers=headers)
        assert found.status_code == status, found.text

    over_http(tmp_path, work)


def test_what_is_sent_is_json(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.start(Basket.run, "ada", id="b")
        headers = {"content-type": "text/plain"}
        url = f"{AZURE}/instances/b/raiseEvent/e"
        found = await http.post(url, content=b"1", headers=headers)
        assert found.status_code == 400
        assert "application/json" in found.json()["detail"]

    over_http(tmp_path, work)


def test_a_start_that_waits_has_the_bare_output(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        times = {"timeout": "30", "pollingInterval": "1"}
        found = await http.post(f"{AZURE}/orchestrators/greet", json="Ada", params=times)
        assert (found.status_code, found.json()) == (200, "Hello, Ada!")
        failed = await http.post(f"{AZURE}/orchestrators/refuses", json="no", params=times)
        assert (failed.status_code, failed.json()["runtimeStatus"]) == (200, "Failed")
        assert failed.json()["output"] == "Refused: no"
        times["timeout"] = "0.1"
        late = await http.post(f"{AZURE}/orchestrators/Basket", json="ada", params=times)
        assert (late.status_code, late.json().keys()) == (202, KEYS)
        again = await http.post(f"{AZURE}/instances/{late.json()['id']}/restart", params=times)
        assert again.status_code == 202
        assert again.json()["id"] != late.json()["id"]
        run = await client.handle(again.json()["id"]).history()
        assert run[0].fields["arguments"] == ["ada"]

    over_http(tmp_path, work)


def test_instances_are_listed_and_go_on_by_their_token(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        for number in range(5):
            await client.run("greet", f"n{number}", id=f"g{number}")
        await client.start(Basket.run, "ada", id="b")
        seen: list[Any] = []
        token = ""
        while True:
            params = {"instanceIdPrefix": "g", "top": "2", "createdTimeFrom": "2020-01-01T00:00:00"}
            headers = {"x-ms-continuation-token": token}
            page = await http.get(f"{AZURE}/instances", params=params, headers=headers)
            seen += page.json()
            token = page.headers.get("x-ms-continuation-token", "")
            if not token:
                break
        assert [each["instanceId"] for each in seen] == [f"g{number}" for number in range(5)]
        assert [each["input"] for each in seen] == [f"n{number}" for number in range(5)]
        params = {"runtimeStatus": "Running,Failed", "showInput": "false"}
        running = (await http.get(f"{AZURE}/instances", params=params)).json()
        assert [(each["instanceId"], each["input"]) for each in running] == [("b", None)]
        params = {"createdTimeTo": "2020-01-01T00:00:00Z"}
        assert (await http.get(f"{AZURE}/instances", params=params)).json() == []

    over_http(tmp_path, work)


def test_instances_are_listed_by_the_status_that_they_show(tmp_path: Path) -> None:
    async def listed(http: httpx.AsyncClient, status: str) -> list[tuple[str, str]]:
        found = await http.get(f"{AZURE}/instances", params={"runtimeStatus": status})
        assert found.status_code == 200, found.text
        return sorted((each["instanceId"], each["runtimeStatus"]) for each in found.json())

    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.start(Basket.run, "ada", id="runs")
        await client.start(Basket.run, "ada", id="waits", delay=3600)
        assert await listed(http, "Pending") == [("waits", "Pending")]
        assert await listed(http, "Running,Suspended") == [("runs", "Running")]
        both = [("runs", "Running"), ("waits", "Pending")]
        assert await listed(http, "pending, running") == both

    over_http(tmp_path, work)


def test_a_history_has_their_words(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.run("greet", "Ada", id="g")
        params = {"showHistory": "true", "showHistoryOutput": "true"}
        found = (await http.get(f"{AZURE}/instances/g", params=params)).json()
        kinds = [each["EventType"] for each in found["historyEvents"]]
        assert (kinds[0], kinds[-1]) == ("ExecutionStarted", "ExecutionCompleted")
        assert found["historyEvents"][-1]["Result"] == "Hello, Ada!"
        params.pop("showHistoryOutput")
        found = (await http.get(f"{AZURE}/instances/g", params=params)).json()
        assert "Result" not in found["historyEvents"][-1]

    over_http(tmp_path, work)


def test_the_key_in_a_url_is_good_for_one_instance(tmp_path: Path) -> None:
    """Theirs is the key of the whole hub."""
    file = tmp_path / "auth.toml"
    digest = sha256(b"shop").hexdigest()
    roles = 'roles = ["starter"]'
    file.write_text(f'[[tokens]]\nname = "shop"\nsha256 = "{digest}"\n{roles}\n')

    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.start(Basket.run, HUSH, id="other")
        key = {"x-functions-key": "shop"}
        found = await http.post(f"{AZURE}/orchestrators/Basket/b", json="ada", headers=key)
        told = found.json()
        assert (await http.get(told["statusQueryGetUri"])).json()["input"] == "ada"
        event = told["sendEventPostUri"].replace("{eventName}", "add")
        assert (await http.post(event, json="apple")).status_code == 202
        other = told["statusQueryGetUri"].replace("/instances/b?", "/instances/other?")
        assert (await http.get(other)).status_code == 401
        wrong = told["statusQueryGetUri"].replace("/instances/b?", "/instances/b/terminate?")
        assert (await http.post(wrong)).status_code == 403
        seen = await http.get(f"{AZURE}/instances/other?showHistory=true", headers=key)
        assert seen.status_code == 202
        assert HUSH not in seen.text
        assert (await http.get(f"{AZURE}/instances", headers={})).status_code == 401
        assert (await http.delete(told["purgeHistoryDeleteUri"])).status_code == 501
        assert (await http.post(told["terminatePostUri"])).status_code == 202

    over_http(tmp_path, work, HttpOptions(auth=file))
