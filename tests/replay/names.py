"""The modules that frozen code imports, though their names stand elsewhere by now.

Frozen code is never edited. So a release that moves a class says here where it was.
"""

from __future__ import annotations

import sys
from types import ModuleType

import processor.core
from processor.core import event
from processor.core.nouns import activity, call, external, record, run, timer, value

__all__ = ("put_back",)

_NOUNS = (activity, call, external, record, run, timer, value)
_FORMER = {"events": (event, *_NOUNS), "started": (external, run), "attempt": (activity,)}


def put_back() -> None:
    for name, modules in _FORMER.items():
        former = ModuleType(f"processor.core.{name}")
        for module in modules:
            vars(former).update({each: getattr(module, each) for each in module.__all__})
        sys.modules[former.__name__] = former
        setattr(processor.core, name, former)
