"""The modules that frozen code imports, though their names stand elsewhere by now.

Frozen code is never edited. So a release that moves a class says here where it was.
"""

from __future__ import annotations

import sys
from types import ModuleType

import processor.core
from processor.core import event, questions
from processor.core.data import address, cause, failure, options
from processor.core.nouns import (
    activity,
    call,
    external,
    lineage,
    record,
    run,
    start,
    stop,
    timer,
    value,
)
from processor.core.records import answers, effects, marks, snapshot, turn

__all__ = ("put_back",)

_NOUNS = (activity, call, external, lineage, record, run, start, stop, timer, value)
_MOVED = (address, cause, failure, options, answers, effects, marks, snapshot, turn)
_FORMER = {
    "events": (event, *_NOUNS),
    "started": (external, lineage, run),
    "attempt": (activity,),
    "inputs": (questions, run, start, stop, external, call),
    **{each.__name__.rpartition(".")[2]: (each,) for each in _MOVED},
}


def put_back() -> None:
    for name, modules in _FORMER.items():
        full_name = f"processor.core.{name}"
        former = sys.modules.setdefault(full_name, ModuleType(full_name))
        setattr(processor.core, name, former)
        for module in modules:
            for each in module.__all__:
                vars(former).setdefault(each, getattr(module, each))
