"""Protections that no story of the simulator plays: each switched off, the named test fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from scramp import ScramClient

from processor.core.records.turn import Positions
from processor.embedded.commits import Commits
from processor.embedded.disk import Disk
from processor.embedded.ports import MemoryInbox

from .embedded import test_disk
from .wire import test_security

# --- the protections ------------------------------------------------------------------------------


def flushes_go_on(patch: pytest.MonkeyPatch) -> None:
    """Go on after an fsync that failed."""
    patch.setattr(Commits, "_fail", lambda self, cause: None)


def what_waits_is_written_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """Write what comes after a turn that was lost, when the disk is closed."""
    patch.setattr(Disk, "give_up", lambda self: None)


def numbers_from_the_start(patch: pytest.MonkeyPatch) -> None:
    """Begin to number the inputs anew, whatever the log knows."""
    opens = MemoryInbox.open
    patch.setattr(MemoryInbox, "open", lambda self, positions: opens(self, Positions()))


def any_broker_believed(patch: pytest.MonkeyPatch) -> None:
    """Do not look at how a broker signs what was said."""
    patch.setattr(ScramClient, "set_server_final", lambda self, message: None)


class Unprotected(NamedTuple):
    """``check`` is a test that fails as ``said`` where ``switch_off`` has been called."""

    switch_off: Callable[[pytest.MonkeyPatch], None]
    check: Callable[[Path, pytest.MonkeyPatch], None]
    said: str


UNPROTECTED = (
    Unprotected(
        flushes_go_on,
        test_disk.test_a_flush_that_failed_once_is_the_last_one,
        r"DID NOT RAISE .*ShardUnavailable",
    ),
    Unprotected(
        what_waits_is_written_at_the_end,
        lambda path, patch: test_disk.test_a_disk_that_gave_up_writes_nothing_when_it_is_closed(
            path
        ),
        r"Disk object at .*\.dirty",
    ),
    Unprotected(
        numbers_from_the_start,
        lambda path, patch: test_disk.test_each_life_goes_on_where_the_one_before_stopped(path),
        r"\(3, 0, 0\) \(1, 0, 0\)",
    ),
    Unprotected(
        any_broker_believed,
        lambda path, patch: (
            test_security.test_a_broker_that_does_not_know_the_password_is_not_believed(False)
        ),
        "DID NOT RAISE .*ScramException",
    ),
)


@pytest.mark.parametrize("unprotected", UNPROTECTED, ids=lambda each: each.switch_off.__name__)
def test_a_protection_switched_off_is_noticed(
    unprotected: Unprotected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unprotected.switch_off(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception), match=unprotected.said):
        unprotected.check(tmp_path, monkeypatch)
