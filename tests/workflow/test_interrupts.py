"""What is sent to another thread, and taken back."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

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
