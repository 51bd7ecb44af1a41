"""What is sent to another thread, and taken back."""

from __future__ import annotations

import _thread
import itertools
import operator
import subprocess
import sys
import threading
from collections import deque

import pytest

from processor.workflow import _interrupts
from processor.workflow._interrupts import interrupt, take_back

PROFILED = """
import sys
from processor.workflow._interrupts import take_back

def called() -> None: ...

take_back()
sys.setprofile(lambda *_: None)
called()
sys.setprofile(None)
print("done")
"""


def test_taking_back_what_was_raised_already_raises_nothing() -> None:
    with pytest.raises(KeyError):
        interrupt(threading.get_ident(), KeyError)
        while True:
            pass
    take_back()
    for _ in range(1_000):
        threading.get_ident()


def test_functions_are_profiled_after_something_was_taken_back() -> None:
    """Python 3.11 would call the function for ever."""
    done = subprocess.run(
        [sys.executable, "-c", PROFILED], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "done\n"


def test_what_a_signal_raises_meanwhile_is_raised_and_nothing_of_ours_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python handles signals before errors of other threads: Ctrl-C comes first."""
    also = iter([[(_thread.interrupt_main,)], []])

    def sends(thread: int, error: type[BaseException]) -> None:
        """Both in one call of C, so that nothing is raised in between."""
        calls = [(_interrupts._set, thread, error), *next(also)]
        deque(itertools.starmap(operator.call, calls), 0)

    monkeypatch.setattr(_interrupts, "interrupt", sends)
    with pytest.raises(KeyboardInterrupt):
        take_back()
    for _ in range(1_000):
        threading.get_ident()
