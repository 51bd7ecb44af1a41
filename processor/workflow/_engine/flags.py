"""Flags: behaviour that a run is begun under, and stays with whatever the settings are later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from processor.config import Settings

__all__ = ("flags_of", "guard_of", "suggested_from", "unknown")

_GUARDS: Final[dict[str, Literal["refuse", "off"]]] = {
    "guard=refuse": "refuse",
    "guard=off": "off",
}
"""Without one the guard answers."""

_SUGGESTED: Final = "continue_after_events="
_SUGGESTED_FROM: Final = 10_000
"""From so many events on a run is told that it had better go on as another one, without a flag."""


def flags_of(settings: Settings) -> tuple[str, ...]:
    """Return the flags of new runs: what differs from what holds without any."""
    guard, after = settings.guard or "off", settings.continue_after_events
    flags = () if guard == "answer" else (f"guard={guard}",)
    return flags if after == _SUGGESTED_FROM else (*flags, f"{_SUGGESTED}{after}")


def unknown(flags: Iterable[str]) -> list[str]:
    """Return those that this release does not know."""
    return sorted(each for each in flags if each not in _GUARDS and not each.startswith(_SUGGESTED))


def guard_of(flags: Iterable[str]) -> Literal["answer", "refuse", "off"]:
    """Return what the guard of a run does."""
    for flag in flags:
        if flag in _GUARDS:
            return _GUARDS[flag]
    return "answer"


def suggested_from(flags: Iterable[str]) -> int:
    """Return from how many events on a run is told to go on as another one."""
    for flag in flags:
        if flag.startswith(_SUGGESTED):
            return int(flag.removeprefix(_SUGGESTED))
    return _SUGGESTED_FROM
