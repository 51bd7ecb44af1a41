"""Protections of business keys, switched off one by one."""

from __future__ import annotations

from typing import Any

import pytest

from processor.correlation.keys import CorrelationKey
from processor.errors import WorkflowNotFound

__all__: tuple[str, ...] = ()


def held_after_the_end(patch: pytest.MonkeyPatch) -> None:
    """Let keys hear nothing of the ends of those who hold them."""
    patch.setattr(CorrelationKey, "_watch", lambda key: None)


def given_to_all(patch: pytest.MonkeyPatch) -> None:
    """Give a key to whoever asks, also where another one has it."""

    def claim(key: Any, workflow_id: str, run_id: str, chain: str, number: int) -> None:
        key.holder = {"workflow_id": workflow_id, "run_id": run_id, "chain": chain}
        key._watch()

    patch.setattr(CorrelationKey.__dict__["claim"], "function", claim)


def lost_with_the_holder(patch: pytest.MonkeyPatch) -> None:
    """Take away what a holder did not take that has ended."""
    ask = CorrelationKey._ask

    async def asked(key: Any, holder: Any, question: Any, what: str) -> Any:
        try:
            return await ask(key, holder, question, what)
        except WorkflowNotFound:
            if what.startswith("event"):
                return None
            raise

    patch.setattr(CorrelationKey, "_ask", asked)


def expires_in_silence(patch: pytest.MonkeyPatch) -> None:
    """Forget events that nobody takes in time, and tell nobody."""
    patch.setattr(CorrelationKey, "_bury", lambda key, event, why: None)


def withdrawn_by_anybody(patch: pytest.MonkeyPatch) -> None:
    """Free a key whoever gives it back."""

    def withdraw(key: Any, chain: str, run_id: str = "", number: int = 0) -> None:
        if key.holder is not None:
            key._free()

    patch.setattr(CorrelationKey.__dict__["withdraw"], "function", withdraw)


def forgotten_by_the_next_run(patch: pytest.MonkeyPatch) -> None:
    """Let the next run of a key begin without what waits."""
    begun = CorrelationKey.__init__

    def begins(key: Any, state: Any = None) -> None:
        begun(key, None if state is None else {**state, "kept": []})

    patch.setattr(CorrelationKey, "__init__", begins)


def newest_first(patch: pytest.MonkeyPatch) -> None:
    """Hand on what came last before what came first."""
    hand_on = CorrelationKey._hand_on

    async def handed(key: Any, holder: Any, event: Any) -> None:
        key.kept.reverse()
        await hand_on(key, holder, key.kept[0])
        key.kept.reverse()

    patch.setattr(CorrelationKey, "_hand_on", handed)
