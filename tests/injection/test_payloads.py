"""Values go through codecs wherever they are written, and nothing else does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import (
    ActivityFailed,
    ApplicationError,
    PayloadCodec,
    PayloadCodecError,
    PayloadTooLarge,
    RetryPolicy,
    SchemaMismatch,
    Settings,
    WorkflowFailed,
    WorkflowParked,
    activity,
    workflow,
)
from processor.codec.payloads import JsonPayloads
from processor.injection.payloads import encoding_of, plain
from processor.testing import Environment
from tests.injection.codecs import Repr, Sealed, Small

SECRET = "very secret, and long enough to get smaller: very secret, very secret, very secret"
SEALED = [Small(), Sealed()]


@activity.define(retry=RetryPolicy(maximum_attempts=2))
async def charge(card: str) -> str:
    last = activity.heartbeat_details(str)
    if last is None:
        activity.heartbeat(f"beat {card}")
        raise ApplicationError("not yet", details=[card])
    return last


@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def refuse(card: str) -> None:
    raise ApplicationError("refused", details={"card": card})


@workflow.define
async def pay(card: str) -> list[str]:
    workflow.set_status(f"status {card}")
    told = [await charge(card)]
    told.append(await workflow.wait_for_event("code", str))
    told.append(workflow.side_effect(lambda: f"side {card}"))
    workflow.signal("nobody", "hears", card)
    try:
        await refuse(card)
    except ApplicationError as error:
        told.append(error.details["card"])
    return told


@workflow.define
async def fails(card: str) -> None:
    raise ApplicationError("it fails", details=[card])


TOLD = [f"beat {SECRET}", f"event {SECRET}", f"side {SECRET}", SECRET]


async def played(env: Environment) -> list[str]:
    handle = await env.start(pay, SECRET, id="run", memo={"memo": SECRET})
    await handle.raise_event("code", f"event {SECRET}")
    return await handle.result()


def written(env: Environment) -> bytes:
    """Return all that the world of an environment has kept in its topics."""
    broker = env._world.broker
    kept = [broker.logs, broker.inputs, broker.outputs, broker.dead_letters, broker.queues]
    pile, seen = list[Any](kept), set[int]()
    found = bytearray()
    while pile:
        each = pile.pop()
        if isinstance(each, bytes | str):
            found += each if isinstance(each, bytes) else each.encode()
        elif id(each) not in seen:
            seen.add(id(each))
            pile += each if isinstance(each, list | tuple | set) else ()
            pile += [*each.keys(), *each.values()] if isinstance(each, dict) else ()
            pile += vars(each).values() if hasattr(each, "__dict__") else ()
            slots = [s for c in type(each).__mro__ for s in getattr(c, "__slots__", ())]
            pile += [getattr(each, s, None) for s in slots if type(each).__module__ != "builtins"]
    return bytes(found)


@pytest.mark.parametrize("max_cached_runs", [0, 100])
def test_values_come_back_and_stand_nowhere_in_clear(max_cached_runs: int) -> None:
    """The environment is strict: a value that replay encodes to other bytes is the same value."""

    async def main() -> None:
        how: Any = {"max_cached_runs": max_cached_runs}
        env = Environment([pay], [charge, refuse], payloads=SEALED, **how)
        async with env:
            assert await played(env) == TOLD
            assert SECRET[:11].encode() not in written(env)
            assert b"not yet" in written(env)
        async with Environment([pay], [charge, refuse], **how) as env:
            assert await played(env) == TOLD
            assert SECRET[:11].encode() in written(env), "the test sees what is written"

    asyncio.run(main())


def test_descriptions_and_histories_show_values_to_whom_has_the_key() -> None:
    async def main() -> None:
        async with Environment([pay, fails], [charge, refuse], payloads=SEALED) as env:
            await played(env)
            handle = env.handle("run")
            found = await handle.describe()
            assert (found.memo, found.result) == ({"memo": SECRET}, TOLD)
            assert found.custom_status == f"status {SECRET}"
            shown = {event.type: event.fields for event in await handle.history()}
            assert shown["WorkflowStarted"]["arguments"] == [SECRET]
            assert shown["ActivityFailed"]["failure"]["details"] == {"card": SECRET}
            assert [run.result async for run in env.list()] == [TOLD]

            env._calls.payloads = JsonPayloads()
            found = await handle.describe()
            assert found.result["encoded_by"] == "sealed"
            assert found.result.keys() == {"encoded_by", "data"}
            arguments = (await handle.history())[0].fields["arguments"]
            assert arguments["encoded_by"] == "sealed"

    asyncio.run(main())


def test_a_client_without_the_key_hears_what_happened() -> None:
    async def main() -> None:
        async with Environment([pay, fails], [charge, refuse], payloads=SEALED) as env:
            await played(env)
            failed = await env.start(fails, SECRET, id="failed")
            with pytest.raises(WorkflowFailed, match="it fails") as raised:
                await failed.result()
            assert isinstance(raised.value.__cause__, ApplicationError)
            assert raised.value.__cause__.details == [SECRET]

            env._calls.payloads = JsonPayloads()
            told = (
                r"the result of run \w+ of 'run': the value was encoded by 'sealed', and the "
                r"codecs here are: none. Give the worker, client or environment the "
                r"payloads=\[...\] that encoded it \(--payloads MODULE:OBJECT on the command "
                r"line\). The value itself is as it was"
            )
            with pytest.raises(PayloadCodecError, match=told):
                await env.handle("run").result()
            with pytest.raises(
                PayloadCodecError,
                match=r"run \w+ of 'failed' failed: ApplicationError: it fails. The details of "
                r"that error are not read: the value was encoded by 'sealed'",
            ):
                await failed.result()

    asyncio.run(main())


class Breaks(Sealed):
    """Has no key the next time that it is asked, once it is ``broken``."""

    broken = False

    def encode(self, data: bytes) -> bytes:
        self.look()
        return super().encode(data)

    def decode(self, data: bytes) -> bytes:
        self.look()
        return super().decode(data)

    def look(self) -> None:
        if self.broken:
            self.broken = False
            raise ConnectionError("no key server")


@activity.define
async def ends_without_key(card: str) -> str:
    return card


codec = Breaks()


@workflow.define
async def reads_result(card: str) -> str:
    try:
        return await ends_without_key(card)
    except Exception:
        return "caught"


@workflow.define
async def reads_event(card: str) -> str:
    await asyncio.sleep(1)
    try:
        return await workflow.wait_for_event("code", str)
    except Exception:
        return "caught"


@workflow.define
async def calls(card: str) -> str:
    await asyncio.sleep(1)
    try:
        return await ends_without_key(card)
    except Exception:
        return "caught"


@workflow.define
async def returns(card: str) -> str:
    await asyncio.sleep(1)
    return card


@workflow.define
async def reads_details(card: str) -> str:
    try:
        await refuse(card)
    except Exception:
        return "caught"
    return "returned"


@pytest.mark.parametrize("workflow", [reads_event, calls, returns])
@pytest.mark.parametrize("max_cached_runs", [0, 100])
def test_a_run_whose_codec_fails_is_parked_whatever_its_code_catches(
    workflow: Any, max_cached_runs: int
) -> None:
    async def main() -> None:
        codec.broken = False
        how: Any = {"max_cached_runs": max_cached_runs, "payloads": codec}
        env = Environment([workflow], [ends_without_key], **how)
        async with env:
            handle = await env.start(workflow, SECRET, id="run")
            await handle.raise_event("code", SECRET)
            await env.sleep(0.5)
            codec.broken = True
            with pytest.raises(WorkflowParked, match="ConnectionError: no key server") as parked:
                await handle.result()
            assert parked.value.parked["kind"] == "not_registered"
            assert "PayloadCodecError: codec 'sealed' could not" in parked.value.parked["error"]
            assert not env.dead_letters

    asyncio.run(main())


@pytest.mark.parametrize("workflow", [reads_result, reads_details])
def test_an_outcome_that_cannot_be_read_parks_the_run(workflow: Any) -> None:
    class OnlyHere(Breaks):
        """Reads everything but what the activity says."""

        name = "here"
        count = 0

        def decode(self, data: bytes) -> bytes:
            self.count += 1
            if self.count == 3:
                raise LookupError("there is no key '9'")
            return super().decode(data)

    async def main() -> None:
        env = Environment([workflow], [ends_without_key, refuse], payloads=OnlyHere())
        async with env:
            with pytest.raises(WorkflowParked, match=r"there is no key '9'\. Give it the key"):
                await env.run(workflow, SECRET)

    asyncio.run(main())


class Hides(Sealed):
    errors = True


@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def breaks(card: str) -> None:
    raise ValueError(f"no such card: {card}")


@workflow.define
async def tells(card: str) -> str:
    with pytest.raises(ActivityFailed, match=f"ValueError: no such card: {card}") as raised:
        await breaks(card)
    assert "in breaks" in raised.value.__notes__[0]
    raise ApplicationError(f"not paid: {card}", details=[card]) from raised.value


@pytest.mark.parametrize("max_cached_runs", [0, 100])
def test_what_errors_say_goes_through_a_codec_that_asks_for_it(max_cached_runs: int) -> None:
    async def main() -> None:
        how: Any = {"payloads": [Small(), Hides()], "max_cached_runs": max_cached_runs}
        async with Environment([tells], [breaks], **how) as env:
            handle = await env.start(tells, SECRET, id="run")
            with pytest.raises(WorkflowFailed, match=f"failed: not paid: {SECRET}") as raised:
                await handle.result()
            cause: Any = raised.value.__cause__
            assert cause.details == [SECRET]
            assert str(cause.__cause__) == f"ValueError: no such card: {SECRET}"
            assert SECRET[:11].encode() not in written(env)
            failure = (await handle.describe()).failure
            assert failure is not None
            assert (failure["message"], failure["details"]) == (f"not paid: {SECRET}", [SECRET])
            assert "in tells" in failure["traceback"]
            assert failure["cause"]["message"] == f"ValueError: no such card: {SECRET}"

            env._calls.payloads = JsonPayloads()
            failure = (await handle.describe()).failure
            assert failure is not None
            assert (failure["type"], failure["message"]) == ("ApplicationError", "(encoded)")
            assert failure["cause"]["message"] == "(encoded)"
            assert failure["traceback"] is None
            with pytest.raises(
                PayloadCodecError, match=r"run \w+ of 'run' failed: ApplicationError"
            ):
                await handle.result()

    asyncio.run(main())


def test_a_message_that_only_looks_hidden_stays_what_it_is() -> None:
    @workflow.define
    async def says() -> None:
        raise ApplicationError("(encoded)", details={"a": 1})

    async def main() -> None:
        async with Environment([says]) as env:
            with pytest.raises(WorkflowFailed, match=r"failed: \(encoded\)") as raised:
                await env.run(says)
            cause: Any = raised.value.__cause__
            assert cause.details == {"a": 1}

    asyncio.run(main())


def test_a_published_record_is_for_readers_of_other_programs() -> None:
    @workflow.define
    async def publishes(card: str) -> None:
        workflow.publish("out", card, {"card": card})
        workflow.publish("out", None, b"as it is")

    async def main() -> None:
        for payloads in (SEALED, [Repr(), Sealed()]):
            env = Environment([publishes], payloads=payloads, max_cached_runs=0)
            async with env:
                await env.run(publishes, SECRET)
                values = [each.value or b"" for each in env.published]
                assert values == [f'{{"card":"{SECRET}"}}'.encode(), b"as it is"]

    asyncio.run(main())


def test_keys_are_exchanged_and_old_values_stay_readable() -> None:
    old, new = Sealed(b"1"), Sealed(b"2", b"1")
    payload = old.encode(b"1")
    assert new.decode(payload) == b"1"
    with pytest.raises(LookupError, match="there is no key '2'"):
        old.decode(new.encode(b"1"))


def test_what_gets_no_smaller_is_not_labelled() -> None:
    payloads = Environment(payloads=Small())._calls.payloads
    assert payloads.encode(1) == b"1"
    assert encoding_of(payloads.encode("x" * 100) or b"") == "small"
    assert payloads.encode(None) is None
    assert payloads.decoder(int)(b"1") == 1


def test_a_program_reads_results_by_itself() -> None:
    payload = Environment(payloads=SEALED)._calls.payloads.encode({"a": "x" * 100})
    assert payload is not None
    assert plain(payload, SEALED) == b'{"a":"' + b"x" * 100 + b'"}'
    assert plain(b"1", SEALED) == b"1"
    with pytest.raises(
        PayloadCodecError, match="encoded by 'sealed', and the codecs here are: none"
    ):
        plain(payload, [])


@pytest.mark.parametrize("rest", [b"", b"\x00", b"\x00a", b"\x05ab", b"\x01\xff"])
def test_what_only_looks_encoded_is_no_value(rest: bytes) -> None:
    for payloads in (JsonPayloads(), Environment(payloads=SEALED)._calls.payloads):
        with pytest.raises(SchemaMismatch, match="it is not valid JSON"):
            payloads.decoder(Any)(b"\xc1\x01" + rest)
        assert payloads.difference(b"\xc1\x01" + rest, b"1")


def test_a_codec_of_ones_own_that_returns_text_is_named() -> None:
    class Wrong(PayloadCodec):
        name = "wrong"

        def encode(self, data: bytes) -> bytes:
            return data.decode()  # type: ignore[return-value]

        def decode(self, data: bytes) -> bytes:
            return data

    with pytest.raises(
        PayloadCodecError, match="codec 'wrong': encode returned a str; return bytes"
    ):
        Environment(payloads=Wrong())._calls.payloads.encode(1)


def test_a_value_is_measured_as_it_is_recorded() -> None:
    async def main() -> None:
        settings = Settings(payload_bytes_max=1_000)
        text = "x" * 100_000
        async with Environment([returns], payloads=Small(), settings=settings) as env:
            assert await env.run(returns, text) == text
        async with Environment([returns], payloads=Sealed(), settings=settings) as env:
            with pytest.raises(PayloadTooLarge, match="the limit is 1,000"):
                await env.run(returns, text)

    asyncio.run(main())


def test_no_two_values_share_a_nonce() -> None:
    """What libraries draw is the run's own and repeats; what a codec draws must not be."""
    nonces: list[bytes] = []

    class Noted(Sealed):
        def encode(self, data: bytes) -> bytes:
            made = super().encode(data)
            nonces.append(made[1:13])
            return made

    async def main() -> None:
        for guard in ("answer", "refuse", False) * 2:
            how: Any = {"guard": guard, "max_cached_runs": 0, "seed": 7}
            async with Environment([pay], [charge, refuse], payloads=Noted(), **how) as env:
                assert await played(env) == TOLD

    asyncio.run(main())
    assert len(nonces) > 100
    assert len(set(nonces)) == len(nonces)
