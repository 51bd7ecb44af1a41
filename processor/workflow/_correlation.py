"""Business keys: a run that holds one hears of events that name the key and not the run.

Each key is a run of a workflow of ours (``processor.correlation``), which all ask by its id.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final, TypeAlias

from processor import checks
from processor.core.correlation import CLAIM, KEEP_MS, WITHDRAW, begins_key, key_id
from processor.core.data.address import Address
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.update import UpdateRun
from processor.errors import CorrelationTaken, InvalidArgument
from processor.workflow._context import current
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import line_here
from processor.workflow._nouns.instance import Answer, Asks, InstanceQuestion, asked
from processor.workflow._outbound import InstanceCall, headers_of, size_of
from processor.workflow._outcomes import updated

__all__ = ("correlate", "keep_ms", "uncorrelate")

_Holder: TypeAlias = list[str] | None
"""What a claim comes to: the workflow id and the run that hold the key; None: who asks does now."""

_END_S: Final = 1
"""The end of a holder reaches its keys by a message. Who finds a key taken asks again after so many
seconds.
"""


def keep_ms(keep: Any, call: str) -> int:
    """Return for how many milliseconds an event waits; ``keep`` is a duration, None: a day."""
    return KEEP_MS if keep is None else math.ceil(checks.seconds(keep, f"{call}: keep") * 1000)


class _Claims:
    """How many claims a run has made: each has a number, by which it is given up.

    ``held`` are the ids of keys that the chain was given, and has not given back.
    """

    def __init__(self, runtime: Runtime) -> None:
        lineage = runtime.started.lineage
        carried = None if lineage is None else lineage.carried
        keys = () if carried is None else carried.correlations
        self.count = 0
        self.held = {key_id(each.name, each.key, "carried") for each in keys}


async def correlate(name: str, key: str) -> None:
    """Hold a business key from now on: events that are addressed to it reach this run.

    The chain of this run holds it until its end, or until ``workflow.uncorrelate``. Events that
    came before are there when this returns, or soon after, in their order. Nothing happens where
    the chain holds the key already. Raises ``CorrelationTaken`` where another one does,
    ``InvalidArgument``.
    """
    call, line = "workflow.correlate", line_here()
    runtime, id = _asking("correlate", call, name, key)
    claims = runtime.part(_Claims)
    claims.count += 1
    number, chain = claims.count, _chain(runtime)
    told = [runtime.workflow_id, runtime.run_id, chain, number]
    what = f"the claim of {id!r}"

    def made(call: InstanceCall) -> InstanceQuestion:
        encoded, headers = runtime.decisions.encode(told, what), headers_of(call.headers)
        claim = UpdateRun("", CLAIM, encoded, headers=headers)
        return InstanceQuestion(begins_key(claim), size_of(headers))

    def read(ended: Any) -> Any:
        return updated(id, ended.id, ended, runtime.payloads, _Holder)

    asks = Asks(runtime, Address(None, id), what, _Holder, read, line)
    holder: _Holder = None
    try:
        for wait_s in (0, _END_S):
            if wait_s:
                await asyncio.sleep(wait_s)
            holder = await asked(asks, made, "update", CLAIM, told)
            if holder is None:
                claims.held.add(id)
                return
    except asyncio.CancelledError:
        if id not in claims.held:  # by another claim, which counts
            _withdraw(runtime, id, line, [chain, runtime.run_id, number])
        raise
    assert holder is not None, "asked once at least"
    workflow_id, run_id = holder
    raise CorrelationTaken(
        f"{call}: ({name!r}, {key!r}) is held by {workflow_id!r} (run {run_id}): it is free when "
        "that chain of runs has ended, gives it back (workflow.uncorrelate), or an operator frees "
        f"it (processor correlation release {name} {key})",
        workflow_id=workflow_id,
        run_id=run_id,
    )


async def uncorrelate(name: str, key: str) -> None:
    """Give a business key back before the end: it is free when this returns.

    What has reached this run stays. Nothing happens where this chain does not hold the key. Raises
    ``InvalidArgument``.
    """
    runtime, id = _asking("uncorrelate", "workflow.uncorrelate", name, key)
    runtime.part(_Claims).held.discard(id)
    await _withdraw(runtime, id, line_here(), _chain(runtime))


def _asking(verb: str, call: str, name: str, key: str) -> tuple[Runtime, str]:
    """Return the run that asks, and the id of the key."""
    runtime = current(verb, awaited=True)
    if runtime.code.operating is not None:
        raise InvalidArgument(
            f"{call}: an entity holds no keys: it has one of its own, to which events are "
            "addressed as signals (client.entity(...).signal)"
        )
    return runtime, key_id(name, key, call)


def _chain(runtime: Runtime) -> str:
    """Return the first run of the chain, which holds the keys."""
    lineage = runtime.started.lineage
    first = None if lineage is None else lineage.first_run_id
    return runtime.run_id if first is None else first


def _withdraw(runtime: Runtime, id: str, line: str, told: str | list[Any]) -> Answer:
    """Give a key back. It is asked at once, behind a claim that may be on its way."""
    what = f"the withdrawal from {id!r}"
    encoded = runtime.decisions.encode(told, what)
    question = InstanceQuestion(begins_key(RaiseEvent(WITHDRAW, encoded)))
    asks = Asks(runtime, Address(None, id), what, None, lambda told: None, line)
    return Answer(asks, question)
