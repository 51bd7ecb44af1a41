"""Every example runs, on the embedded runtime."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from examples import (
    aggregator,
    approval,
    async_completion,
    bank,
    chaining,
    children,
    correlation,
    counter,
    fan_out,
    monitor,
    rate_limiter,
    report,
    visits,
    window,
)
from processor import Client, Status, Worker, WorkflowFailed
from processor.activity import Activity
from processor.testing import Environment
from processor.workflow._definition import defined as definition


def run(path: Path, module: Any, talk: Any) -> Any:
    async def main() -> Any:
        defined = list(vars(module).values())
        server = f"embedded:{path}"
        worker = Worker(
            server,
            workflows=[each for each in defined if definition(each) is not None],
            activities=[each for each in defined if isinstance(each, Activity)],
        )
        async with worker, Client(server) as client:
            return await talk(client)

    return asyncio.run(main())


def test_chaining(tmp_path: Path) -> None:
    async def talk(client: Client) -> str:
        return await client.run(chaining.greet, "Ada", timeout=20)

    assert run(tmp_path, chaining, talk) == "Countess Ada, welcome.\n-- the team"


def test_fan_out(tmp_path: Path) -> None:
    async def talk(client: Client) -> dict[str, int]:
        return await client.run(fan_out.count_words, ["a b", "b c"] * 50, 10, timeout=20)

    assert run(tmp_path, fan_out, talk) == {"a": 50, "b": 100, "c": 50}


def test_children(tmp_path: Path) -> None:
    async def talk(client: Client) -> dict[str, list[str]]:
        return await client.run(children.fulfil, "A-1", ["book", "piano", "lamp"], timeout=20)

    assert run(tmp_path, children, talk) == {
        "sent": ["book by bicycle", "lamp by bicycle"],
        "refused": ["piano is too heavy"],
    }


@pytest.mark.parametrize(
    ("answers", "result"), [(True, "approved by Grace"), (None, "nobody answered")]
)
def test_approval(tmp_path: Path, answers: bool | None, result: str) -> None:
    async def talk(client: Client) -> str:
        within_s = 30.0 if answers else 0.05
        what = approval.Expense("Ada", 120.0, within_s)
        handle = await client.start(approval.expense, what)
        if answers is not None:
            await handle.raise_event("approval", {"approved": "perhaps"})  # skipped: does not fit
            assert (await handle.describe()).custom_status == "waiting for the team lead"
            await handle.raise_event("approval", approval.Approval("Grace", answers))
        return await handle.result(20)

    assert run(tmp_path, approval, talk) == result


def test_async_completion(tmp_path: Path) -> None:
    async def talk(client: Client) -> str:
        handle = await client.start(async_completion.order, "lamp")
        token = ""
        while not token:
            for each in (await handle.describe()).pending["activities"]:
                token = each["details"] or ""
            await asyncio.sleep(0.01)
        await async_completion.webhook(client, token, "shipped")
        await async_completion.webhook(client, token, "shipped")  # webhooks come twice
        return await handle.result(20)

    assert run(tmp_path, async_completion, talk) == "lamp: shipped"


def test_monitor(tmp_path: Path) -> None:
    async def talk(client: Client) -> str:
        job = monitor.Job("42", ready_after_polls=4, first_pause_s=0.01)
        return await client.run(monitor.monitor, job, timeout=20)

    assert run(tmp_path, monitor, talk) == "job 42 was ready at poll 4"


def test_monitor_gives_up(tmp_path: Path) -> None:
    async def talk(client: Client) -> str:
        job = monitor.Job("42", ready_after_polls=99, first_pause_s=0.05, deadline_s=0.2)
        return await client.run(monitor.monitor, job, timeout=20)

    with pytest.raises(WorkflowFailed, match="not ready in time"):
        run(tmp_path, monitor, talk)


def test_counter(tmp_path: Path) -> None:
    async def talk(client: Client) -> int:
        handle = await client.start(counter.Counter.run, 0, 10, id="visits")
        for _ in range(25):
            await handle.signal(counter.Counter.add, 2)
        total = await handle.query(counter.Counter.total)
        first = await client.handle("visits", handle.run_id).describe()
        assert first.status is Status.CONTINUED
        return total

    assert run(tmp_path, counter, talk) == 50


def test_report() -> None:
    async def main() -> None:
        async with Environment([report.report], [report.count_orders]) as env:
            await env.start(report.report, ["Rome"], cron="30 6 * * *")
            await env.sleep(timedelta(days=2))
            assert [each.value for each in env.published] == [
                b'{"orders":40,"before":0}',
                b'{"orders":40,"before":40}',
            ]

    asyncio.run(main())


def test_aggregator(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(aggregator.main())
    assert capsys.readouterr().out == "ada (2, 3)\nbob (1, 7)\n"


def test_bank() -> None:
    async def main() -> None:
        async with Environment([bank.transfer, bank.audit], entities=[bank.Account]) as env:
            names = ["ada", "bob", "cleo"]
            for name in names:
                assert await env.entity(bank.Account, name).call(bank.Account.deposit, 100) == 100
            ways = [(a, b) for a in names for b in names if a != b] * 5
            told = asyncio.gather(*(env.run(bank.transfer, *way, 30) for way in ways))
            for _ in range(5):
                assert await env.run(bank.audit, names[::-1]) == 300
            receipts = await told
            assert all(bool(each.number) == bool(each.moved) for each in receipts)
            refused = await env.run(bank.transfer, "ada", "bob", 1_000)
            assert refused.moved == 0 and "ada has" in refused.reason
            totals = [
                await env.entity(bank.Account, each).call(bank.Account.total) for each in names
            ]
            assert sum(totals) == 300 and min(totals) >= 0

    asyncio.run(main())


def test_correlation(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(correlation.main())
    assert capsys.readouterr().out == "['P-1 at the door', 'P-2 by hand']\n"


def test_window(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(window.main())
    assert capsys.readouterr().out == "[12, 11]\n"


def test_visits(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(visits.main())
    assert capsys.readouterr().out == (
        "counted: 50\nafter the reset: 1\nended last: add reset add\n"
    )


def test_rate_limiter(capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(rate_limiter.main())
    assert capsys.readouterr().out == "at least half a second apart: True\n"
