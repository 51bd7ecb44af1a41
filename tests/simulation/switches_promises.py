"""Protections of promises and of idempotency keys, switched off one by one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor.core.data.cause import is_keyed
from processor.core.nouns import promise
from processor.core.nouns.promise import Promises
from processor.shard import dedup
from processor.shard.dedup import Requests
from processor.workflow._nouns.promise import Promise

__all__: tuple[str, ...] = ()


def later_words_count(patch: pytest.MonkeyPatch) -> None:
    """Tell everybody that the promise is settled by what he says."""
    decide = promise._SettlesPromise.decide

    def take(self: Any, draft: Any, latest: Any) -> Any:
        run: Promises = draft.run
        if self.named().number in run.promises:
            return decide(self, draft, latest)
        return None

    patch.setattr(promise._SettlesPromise, "decide", take)


def keys_not_counted(patch: pytest.MonkeyPatch) -> None:
    """Take what has a key for new each time."""
    standing = Requests.standing

    def take(self: Requests, cause: Any, *, again: bool) -> Any:
        return "new" if is_keyed(cause) else standing(self, cause, again=again)

    patch.setattr(Requests, "standing", take)


def keys_used_up_by_refusals(patch: pytest.MonkeyPatch) -> None:
    """Let a refusal be the answer to all that comes with its key."""
    patch.setattr(dedup, "is_keyed", lambda cause: False)


def keys_used_for_anything(patch: pytest.MonkeyPatch) -> None:
    """Take what has the key of something else for a copy of that."""
    patch.setattr(Requests, "used_for", lambda self, cause: None)


def given_up_with_the_wait(patch: pytest.MonkeyPatch) -> None:
    """Give a promise up where somebody gives up waiting for it."""
    patch.setattr(Promise, "__await__", asyncio.Future.__await__)
