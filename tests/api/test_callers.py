"""How often callers may ask, and those of one address; which runs a capability reaches."""

from __future__ import annotations

from pathlib import Path

import httpx

from processor import Client, workflow
from processor.api.auth.rates import Rates
from tests.api.serving import BASE, Basket
from tests.api.test_auth import TOKENS, bearer, guarded

RATE = "[rate]\nper_second = 0.01\nburst = 2\ncallers_per_address = 2\n"


def test_who_asks_too_often_waits(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        url = f"{BASE}/instances"
        found = [await http.get(url, headers=bearer("viewer")) for _ in range(4)]
        assert [each.status_code for each in found] == [200, 200, 200, 429]
        assert found[3].headers["retry-after"] == "100"
        assert found[3].json()["retryable"] is True
        assert (await http.get(url, headers=bearer("reader"))).status_code == 200
        wrong = [await http.get(url, headers=bearer("nobody")) for _ in range(4)]
        assert [each.status_code for each in wrong] == [401, 401, 401, 429]

    guarded(tmp_path, work, TOKENS + "[rate]\nper_second = 0.01\nburst = 3\n")


def test_a_bucket_fills_again_and_there_are_so_many() -> None:
    now = [0.0]
    rates = Rates(2.0, 3, lambda: now[0])
    assert [rates.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] += 0.25
    assert rates.wait_s("a") == 0.25
    now[0] += 0.25
    assert rates.wait_s("a") == 0
    now[0] += 100
    assert [rates.wait_s("a") for _ in range(4)] == [0, 0, 0, 0.5]
    for number in range(20_000):
        rates.wait_s(f"caller {number}")
    assert len(rates._left) == 10_000


def test_an_address_asks_as_often_as_some_callers_may(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        names = ("viewer", "reader", "operator")
        for name, status in ((names[0], 200), (names[1], 200), (names[2], 429)):
            for _ in range(2):
                found = await http.get(f"{BASE}/instances", headers=bearer(name))
                assert found.status_code == status, name
        assert found.json()["detail"].startswith("127.0.0.1 asks too often")
        assert found.headers["retry-after"] == "50"

    guarded(tmp_path, work, TOKENS + RATE)


def test_callers_of_a_trusted_proxy_share_no_address(tmp_path: Path) -> None:
    proxy = '[proxy]\ntrusted = ["127.0.0.0/8"]\nuser_header = "x-user"\nroles = ["viewer"]\n'

    async def work(http: httpx.AsyncClient, client: Client) -> None:
        for number in range(9):
            found = await http.get(f"{BASE}/instances", headers={"x-user": f"user {number}"})
            assert found.status_code == 200

    guarded(tmp_path, work, proxy + RATE)


@workflow.define
async def steps(number: int) -> int:
    if number < 2:
        workflow.continue_as_new(number + 1)
    return await workflow.wait_for_event("go", int)


def test_a_capability_reads_each_run_of_its_chain(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        body = {"id": "c", "arguments": [0]}
        url = f"{BASE}/workflows/steps/runs"
        started = (await http.post(url, json=body, headers=bearer("starter"))).json()
        urls, first = started["urls"], started["run_id"]
        runs = [first]
        while (successor := (await client.handle("c", runs[-1]).describe()).successor) is not None:
            runs.append(successor)
        assert len(runs) == 3
        for run_id in runs:
            for name in ("describe", "history"):
                found = await http.get(f"{urls[name]}&run_id={run_id}")
                assert (found.status_code, found.json()["run_id"]) == (200, run_id)
        seen = await http.get(urls["watch"], headers={"last-event-id": f"{first}:0"})
        assert seen.status_code == 200
        assert f'"successor":"{runs[1]}"' in seen.text
        await client.handle("c").terminate()
        other = await client.start(Basket.run, "eve", id="c")
        for run_id in (other.run_id, "none"):
            assert (await http.get(f"{urls['describe']}&run_id={run_id}")).status_code == 403
            headers = {"last-event-id": f"{run_id}:0"}
            assert (await http.get(urls["watch"], headers=headers)).status_code == 403
        event = urls["events"].replace("{name}", "go")
        assert (await http.post(f"{event}&run_id={other.run_id}", json=1)).status_code == 403

    guarded(tmp_path, work, code={"workflows": [steps, Basket]})
