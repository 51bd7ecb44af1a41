"""Functions that stand in for activities."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from processor import activity as activities
from processor import checks
from processor.activity import Activity
from processor.errors import InvalidArgument

__all__ = ("Mocks", "mocked")

Mocks: TypeAlias = Mapping[Any, Callable[..., Any]]
"""By the activity, or by its name, what is called instead of it.

Checked when it is given: as a type, keys of two kinds would fit no dictionary that a test builds.
"""


def mocked(registered: Iterable[Activity[..., Any]], mocks: Mocks) -> list[Activity[..., Any]]:
    """Return the activities, with a function of ``mocks`` for each that it names."""
    if not isinstance(mocks, Mapping):
        raise InvalidArgument(
            "Environment: mocks: give a dictionary, as {charge: function}, not "
            f"{checks.shown(mocks)}"
        )
    stood_in: dict[str, Activity[..., Any]] = {}
    given = {each.name: each for each in registered if isinstance(each, Activity)}
    for key, function in mocks.items():
        if not callable(function):
            name = key.name if isinstance(key, Activity) else key
            raise InvalidArgument(
                f"Environment: mocks: give a function for {checks.shown(name)}, not "
                f"{checks.shown(function)}"
            )
        if isinstance(key, Activity):
            mock = _with_function(key, function)
        elif isinstance(key, str):
            mock = _named(checks.name(key, "Environment: mocks"), given.get(key), function)
        else:
            raise InvalidArgument(
                f"Environment: mocks: {checks.shown(key)} is no activity and no name of one"
            )
        if mock.name in stood_in:
            raise InvalidArgument(f"Environment: mocks: activity {mock.name!r} has two functions")
        stood_in[mock.name] = mock
    left = [
        each for each in registered if not (isinstance(each, Activity) and each.name in stood_in)
    ]
    return [*left, *stood_in.values()]


def _named(
    name: str, registered: Activity[..., Any] | None, function: Callable[..., Any]
) -> Activity[..., Any]:
    """Return what stands in under a name: of a registered activity, or of none that is known.

    Then the function's own annotations say what its arguments are.
    """
    known = activities.define(name=name)(function) if registered is None else registered
    return _with_function(known, function)


def _with_function(
    activity: Activity[..., Any], function: Callable[..., Any]
) -> Activity[..., Any]:
    async def mock(*args: Any) -> Any:
        value = function(*args)
        return await value if inspect.isawaitable(value) else value

    definition = replace(activity.definition, function=mock, is_async=True)
    mock_activity: Activity[..., Any] = Activity(
        definition, activity.wire_options, activity.cancellation
    )
    return mock_activity
