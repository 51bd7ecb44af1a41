"""The workflow that a business key is: it hands events on to the run that holds the key.

An event waits until a run holds the key, and goes to the dead letters where none does in time. One
is handed on after the other, each once the one before was taken: so they keep their order, and what
a holder that has ended did not take waits for the next one. A key that nobody holds, and for which
nothing waits, ends. So there are no more of them than are in use.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from processor import workflow
from processor.checks import ID_BYTES_MAX
from processor.core.correlation import CORRELATION, ID_PREFIX, KEEP_MS, key_of
from processor.core.data.address import Address
from processor.core.data.bounds import DURATION_MS_MAX, check_range, check_text
from processor.core.nouns.external import EventRejected, RaiseEvent
from processor.core.questions import AwaitResult
from processor.core.records.answers import Closed
from processor.errors import CommandRejected, PayloadTooLarge, ProcessorError, WorkflowNotFound
from processor.policy import Status
from processor.workflow._context import current
from processor.workflow._nouns.instance import Answer, Asks, InstanceQuestion

__all__ = ("CorrelationKey",)

_KEPT_MAX: Final = 1_000
_KEPT_BYTES_MAX: Final = 500_000
"""So many events of one key wait at the most, and so many bytes of them."""

_EVENTS_MAX: Final = 500
"""It goes on as a new run where its history has more."""

_ASK_AGAIN_S: Final = 60
"""After so long it asks a holder again for which too many runs wait."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@workflow.define(name=CORRELATION)
class CorrelationKey:
    """One key. Its handlers return at once: what takes time is done by the code, and by a task."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        self.name, self.key = key_of(workflow.info().workflow_id)
        self.holder: dict[str, str] | None = None if state is None else state["holder"]
        self.kept: list[dict[str, Any]] = [] if state is None else state["kept"]
        self.is_changed = False
        self._watching: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, state: dict[str, Any] | None = None) -> None:
        if self.holder is not None:
            self._watch()
        try:
            await self._serve()
        except asyncio.CancelledError:
            for event in self.kept:
                self._bury(event, "its key was cancelled before a run had taken it for certain")
            raise

    async def _serve(self) -> None:
        await workflow.wait_until(workflow.all_handlers_finished)  # of what it has begun with
        while True:
            self.is_changed = False
            self._let_expire()
            if workflow.info().history_events >= _EVENTS_MAX and self._size <= _KEPT_BYTES_MAX:
                self._go_on()
            if self.holder is not None and self.kept:
                await self._hand_on(self.holder, self.kept[0])
            elif self.holder is None and not self.kept and workflow.all_handlers_finished():
                return
            else:
                with suppress(TimeoutError):
                    await workflow.wait_until(lambda: self.is_changed, timeout=self._rest())

    def _go_on(self) -> None:
        """Go on as a new run, with as much of what waits as one value may hold."""
        while True:
            try:
                workflow.continue_as_new({"holder": self.holder, "kept": self.kept})
            except PayloadTooLarge:
                if not self.kept:
                    return
                why = "what its key hands on to its next run is too large (payload_bytes_max)"
                self._bury(self.kept.pop(), why)

    # --- what it is told ----------------------------------------------------------------------

    @workflow.update
    def claim(self, workflow_id: str, run_id: str, chain: str, number: int) -> list[str] | None:
        """Let a chain of runs hold the key; return who else does, a workflow id and a run.

        ``number`` is that of the claim among those of its run.
        """
        claim, holder = f"{run_id}/{number}", self.holder
        if holder is None:
            whose = {"workflow_id": workflow_id, "run_id": run_id, "chain": chain}
            self.holder = holder = {**whose, "claim": claim}
            self._watch()
        elif holder["chain"] == chain and holder["claim"] != claim:
            holder["claim"] = ""  # it is held for more than one claim: giving up one frees nothing
        return None if holder["chain"] == chain else [holder["workflow_id"], holder["run_id"]]

    @claim.validator
    def no_key(self, workflow_id: str, run_id: str, chain: str, number: int) -> None:
        if workflow_id.startswith(ID_PREFIX):  # what it gets it would hand on, for ever
            raise ValueError(f"{workflow_id!r} is a business key, and a key holds no keys")

    @workflow.signal
    def withdraw(self, chain: str, run_id: str = "", number: int = 0) -> None:
        """Let a chain hold the key no more, if it does: by that one claim, if it is given."""
        holder = self.holder
        if holder is None or holder["chain"] != chain:
            return
        if not run_id or holder["claim"] == f"{run_id}/{number}":
            self._free()

    @workflow.signal
    def deliver(self, name: str, value: Any = None, keep_ms: int = KEEP_MS) -> None:
        """Take an event for the run that holds the key, now or within so many milliseconds."""
        event: dict[str, Any] = {"name": name, "value": value, "until_ms": 0, "bytes": 0}
        try:
            check_text("name of the event", name, ID_BYTES_MAX)
            check_range("keep_ms", keep_ms, 0, DURATION_MS_MAX)
            event["bytes"] = len(self._encoded(event) or b"") + len(name.encode())
        except ProcessorError as error:
            self._bury(event, str(error))
            return
        event["until_ms"] = self._now_ms() + keep_ms
        most, size = len(self.kept) >= _KEPT_MAX, self._size + event["bytes"]
        if most or (size > _KEPT_BYTES_MAX and (self.kept or self.holder is None)):
            self._bury(
                event,
                f"{len(self.kept):,} events of {self._size:,} bytes wait for a run that takes "
                f"them, and a key keeps {_KEPT_MAX:,} of {_KEPT_BYTES_MAX:,} bytes together at the "
                "most",
            )
            return
        self.kept.append(event)
        self.is_changed = True

    @workflow.signal(dynamic=True)
    def other(self, name: str, value: Any = None) -> None:
        """Take what somebody sends to the key's workflow id: it is an event for its holder."""
        self.deliver(name, value)

    @workflow.update
    def release(self) -> list[str] | None:
        """Free the key, whoever holds it; return who did, a workflow id and a run."""
        holder = self.holder
        if holder is None:
            return None
        self._free()
        return [holder["workflow_id"], holder["run_id"]]

    @workflow.query
    def describe(self) -> dict[str, Any]:
        return {"holder": self.holder, "kept": self.kept}

    # --- its holder ---------------------------------------------------------------------------

    def _watch(self) -> None:
        task = self._until_it_ends(self.holder)
        self._watching = asyncio.get_running_loop().create_task(task)
        self.is_changed = True

    async def _until_it_ends(self, holder: Any) -> None:
        """Free the key when the chain of runs that holds it has ended."""
        question = InstanceQuestion(AwaitResult(first_run_id=holder["chain"]))
        while True:
            try:
                end: Closed = await self._ask(holder, question, "the wait for its end")
            except CommandRejected:
                await asyncio.sleep(_ASK_AGAIN_S)
                continue
            except WorkflowNotFound:
                break
            if end.status != Status.CONTINUED:
                break
        if self.holder is holder:
            self._free()

    def _free(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None and watching is not asyncio.current_task():
            watching.cancel()
        self.holder = None
        self.is_changed = True

    async def _hand_on(self, holder: dict[str, str], event: dict[str, Any]) -> None:
        """Give the first event to the holder. One that has ended leaves it to the next one."""
        why = ""
        try:
            payload = self._encoded(event)
            raised = RaiseEvent(event["name"], payload, first_run_id=holder["chain"])
            await self._ask(holder, InstanceQuestion(raised), f"event {event['name']!r}")
        except WorkflowNotFound:
            if self.holder is holder:
                self._free()
            return
        except ProcessorError as error:
            why = f"{holder['workflow_id']!r}, which holds the key, did not take it: {error}"
        assert self.kept[0] is event, "only the code of the run takes an event away"
        del self.kept[0]
        if why:
            self._bury(event, why)

    async def _ask(self, holder: dict[str, str], question: InstanceQuestion, what: str) -> Any:
        to = holder["workflow_id"]
        what = f"{what} of {to!r}"
        asks = Asks(current("handle"), Address(None, to), what, Any, lambda told: told, "")
        return await Answer(asks, question)

    # --- events that wait ---------------------------------------------------------------------

    @property
    def _size(self) -> int:
        return sum(each["bytes"] for each in self.kept)

    def _now_ms(self) -> int:
        return (workflow.now() - _EPOCH) // timedelta(milliseconds=1)

    def _rest(self) -> timedelta | None:
        """Return for how long there is nothing to do, None: until it is told something."""
        if not self.kept:
            return None
        left_ms = min(each["until_ms"] for each in self.kept) - self._now_ms()
        return timedelta(milliseconds=max(left_ms, 1))

    def _let_expire(self) -> None:
        if self.holder is not None:
            return
        now_ms, waiting = self._now_ms(), self.kept
        self.kept = [each for each in waiting if each["until_ms"] > now_ms]
        for event in waiting:
            if event["until_ms"] <= now_ms:
                self._bury(event, "no run held the key as long as it was kept (keep)")

    def _encoded(self, event: dict[str, Any]) -> bytes | None:
        what = f"event {event['name']!r}"
        return current("handle").decisions.encode(event["value"], what)

    def _bury(self, event: dict[str, Any], why: str) -> None:
        """Put an event into the dead letters."""
        runtime, payload = current("handle"), None
        reason = f"it is for ({self.name!r}, {self.key!r}), and {why}"
        try:
            payload = self._encoded(event)
        except PayloadTooLarge as error:
            reason += f" (its value is left out: {error})"
        buried = EventRejected(event["name"], payload, reason)
        size = len(payload or b"") + len(reason)
        runtime.decisions.add(buried, "", size, f"the loss of event {event['name']!r}")
