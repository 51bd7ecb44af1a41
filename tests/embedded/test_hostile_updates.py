"""Updates whose code, sender or moment is not as one would wish."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    Settings,
    Status,
    UpdateFailed,
    UpdateNotFound,
    UpdateRejected,
    UpdateUnfinished,
    Worker,
    workflow,
)
from processor.testing import Environment
from tests.embedded.approval import serving

__all__ = ("serving",)


@workflow.define
async def pushing() -> list[int]:
    pushed: list[int] = []

    async def push(value: int) -> int:
        await asyncio.sleep(0.01)
        pushed.append(value)
        return len(pushed)

    workflow.on_update("push", push)
    workflow.on_signal("put", push)
    await workflow.wait_until(workflow.all_handlers_finished)
    return pushed


def test_a_handler_that_is_about_to_begin_has_not_finished(serving: Any) -> None:
    async def work(client: Client) -> None:
        assert await client.update_with_start(pushing, id="a", update=("push", 5)) == 1
        assert await client.handle("a").result() == [5]
        handle = await client.signal_with_start(pushing, id="b", signal=("put", 6))
        assert await handle.result() == [6]

    serving(work, pushing)


@workflow.define
class Gated:
    def __init__(self) -> None:
        self.gate = self.over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_until(lambda: self.over)
        return "over"

    @workflow.update
    async def fail(self, size: int) -> None:
        await workflow.wait_until(lambda: self.gate)
        raise ApplicationError("no", details="x" * size)

    @workflow.update
    def finish(self) -> str:
        self.over = True
        return "finished"

    @workflow.update
    def strict(self, error: str) -> None:
        raise AssertionError("its validator refuses all")

    @strict.validator
    def refuse(self, error: str) -> None:
        kinds = {"exit": SystemExit, "cancel": asyncio.CancelledError, "base": BaseException}
        raise kinds[error]("refused")

    @workflow.signal
    def let_go(self) -> None:
        self.gate = True


def test_errors_that_are_too_large_for_a_turn_lose_their_details() -> None:
    async def work() -> None:
        settings = Settings(turn_bytes_max=200_000)
        async with Environment([Gated], settings=settings) as client:
            handle = await client.start(Gated.run, id="a")
            sent = [await handle.start_update(Gated.fail, 90_000) for _ in range(4)]
            await handle.signal(Gated.let_go)
            for number, each in enumerate(sent):
                with pytest.raises(UpdateFailed) as failed:
                    await each.result()
                assert ("details left out" in str(failed.value)) is (number > 1)
            assert (await handle.describe()).status is Status.RUNNING

    asyncio.run(work())


def test_any_error_of_a_validator_refuses_the_update_of_a_start(serving: Any) -> None:
    async def work(client: Client) -> None:
        for error in ("exit", "cancel", "base"):
            update = (Gated.strict, error)
            with pytest.raises(UpdateRejected, match="refused"):
                await client.update_with_start(Gated.run, id=error, update=update)
            with pytest.raises(UpdateRejected, match="refused"):
                await client.handle(error).update(*update)
            assert (await client.handle(error).describe()).status is Status.RUNNING

    serving(work, Gated)


def test_the_time_of_a_caller_is_up(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Gated.run, id="a")
        late = r"no outcome of update 'u' of 'a' within 0\.3 s"
        with pytest.raises(TimeoutError, match=late):
            await handle.update(Gated.fail, 1, id="u", timeout=0.3)
        with pytest.raises(TimeoutError, match=late):
            update = (Gated.fail, 1)
            await client.update_with_start(
                Gated.run, id="a", update=update, update_id="u", timeout=0.3
            )
        await handle.signal(Gated.let_go)
        with pytest.raises(UpdateFailed, match="failed: no"):
            await handle.update_handle("u").result()

    serving(work, Gated)


def test_an_update_with_a_start_that_is_sent_again_after_the_end_has_its_outcome(
    serving: Any,
) -> None:
    async def work(client: Client) -> None:
        async def send(update_id: str | None) -> Any:
            return await client.update_with_start(
                Gated.run,
                id="a",
                update=(Gated.finish,),
                update_id=update_id,
                reuse="use-existing",
            )

        assert await send("once") == "finished"
        assert await client.handle("a").result() == "over"
        assert await send("once") == "finished"
        for other in ("other", None):
            with pytest.raises(
                CommandRejected, match="is completed: update 'finish' was not taken"
            ):
                await send(other)

    serving(work, Gated)


def test_the_last_events_of_a_long_run_are_searched(
    serving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.shard.turns.updating.EVENTS_MAX", 4)

    async def work(client: Client) -> None:
        handle = await client.start(Gated.run, id="a")
        await handle.signal(Gated.let_go)
        for number in range(3):
            with pytest.raises(UpdateFailed):
                await handle.update(Gated.fail, number, id=f"u{number}")
        await handle.update(Gated.finish, id="last")
        await handle.result()
        assert await handle.update(Gated.finish, id="last") == "finished"
        with pytest.raises(UpdateNotFound, match="no update with the id 'u0' in its last 4 events"):
            await handle.update_handle("u0").result()

    serving(work, Gated)


@workflow.define
class Chancy:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_until(lambda: False)

    @workflow.update
    def draw(self) -> str:
        return "lucky"

    @draw.validator
    def luck(self) -> None:
        if random.random() < 0.5:
            raise ValueError("no luck")

    @workflow.update
    def plain(self) -> str:
        return "plain"


def test_what_a_validator_draws_at_random_is_drawn_again() -> None:
    async def work() -> None:
        async with Environment([Chancy], max_cached_runs=0) as client:
            for number in range(8):
                update = (Chancy.draw,)
                with suppress(UpdateRejected):
                    await client.update_with_start(Chancy.run, id=str(number), update=update)
                assert await client.handle(str(number)).update(Chancy.plain) == "plain"

    asyncio.run(work())


def test_an_id_means_one_update_of_each_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        first = await client.start(Gated.run, id="a")
        old = await first.start_update(Gated.fail, 1, id="u")
        await first.terminate()
        second = await client.start(Gated.run, id="a")
        await second.signal(Gated.let_go)
        with pytest.raises(UpdateFailed, match="failed: no"):
            await second.update(Gated.fail, 1, id="u")
        for handle in (old, first.update_handle("u")):
            with pytest.raises(UpdateUnfinished, match="is terminated"):
                await handle.result()

    serving(work, Gated)


def test_an_accepted_update_is_not_lost_where_too_many_wait(tmp_path: Path) -> None:
    async def work() -> None:
        server = f"embedded:{tmp_path}"
        worker = Worker(server, workflows=[Gated], settings=Settings(waiters_max=1))
        async with worker, Client(server) as client:
            handle = await client.start(Gated.run, id="a")
            waits = [asyncio.create_task(handle.update(Gated.fail, 1)) for _ in range(3)]
            await asyncio.sleep(0.1)
            assert not [each for each in waits if each.done()]
            await handle.signal(Gated.let_go)
            for each in waits:
                with pytest.raises(UpdateFailed, match="failed: no"):
                    await each

    asyncio.run(work())


def test_an_update_of_a_run_whose_code_is_not_there_may_be_sent_again(tmp_path: Path) -> None:
    async def work() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=[Gated]), Client(server) as client:
            await client.start(Gated.run, id="a")
        async with Worker(server, workflows=[pushing]), Client(server) as client:
            refused = r"was not taken: .* 'Gated' is not registered"
            with pytest.raises(CommandRejected, match=refused):
                await client.handle("a").update("finish")
        async with Worker(server, workflows=[Gated]), Client(server) as client:
            assert await client.handle("a").update("finish") == "finished"

    asyncio.run(work())
