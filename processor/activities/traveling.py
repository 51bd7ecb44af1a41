"""Values and errors as bytes between a worker and its processes, by ``pickle``."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import MethodType
from typing import Any, Final, NamedTuple

from processor.activity import Activity, ActivityDefinition, imported
from processor.core.data.shown import CARRIED, shown
from processor.errors import ApplicationError, SchemaMismatch
from processor.failures import bases_of, chain_of
from processor.workflow._frames import is_ours

__all__ = (
    "Job",
    "Raised",
    "dumped",
    "function_of",
    "job_of",
    "loaded",
    "received_error",
    "sent_error",
)

_PROTOCOL: Final = pickle.HIGHEST_PROTOCOL
_DICT: Final[Any] = BaseException.__dict__["__dict__"]


class Raised(Exception):
    """A function raised this: ``StopIteration`` cannot pass through a coroutine."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Job(NamedTuple):
    """A call of a function: where it is imported from, or of which object it is a method."""

    name: str
    module: str
    qualname: str
    instance: Any
    arguments: tuple[Any, ...]


def job_of(definition: ActivityDefinition, arguments: tuple[Any, ...]) -> bytes:
    """Return a call as bytes. Raises ``SchemaMismatch``, which says what cannot be pickled."""
    function: Any = definition.function
    instance = None
    if isinstance(function, MethodType):
        function, instance = function.__func__, function.__self__
    job = Job(definition.name, function.__module__, function.__qualname__, instance, arguments)
    what = "the arguments" if instance is None else "the object of this method and the arguments"
    return dumped(job, f"activity {definition.name!r} runs in a process: {what}")


def function_of(job: Job) -> Callable[..., Any]:
    """Import what a job calls. Raises ``ImportError`` where nothing is there."""
    if job.instance is None:
        return imported(job.name, job.module, job.qualname)
    found: Any = getattr(job.instance, job.qualname.rpartition(".")[2])
    function: Callable[..., Any] = found.function if isinstance(found, Activity) else found
    return function


def dumped(value: object, what: str) -> bytes:
    """Return a value as bytes. Raises ``SchemaMismatch``, which names it by ``what``."""
    try:
        return pickle.dumps(value, _PROTOCOL)
    except Exception as error:  # whatever the methods of the value raise
        raise _cannot(what, "pickled", error) from None


def loaded(data: bytes, what: str) -> Any:
    """Return the value of bytes. Raises ``SchemaMismatch``, which names it by ``what``."""
    try:
        return pickle.loads(data)
    except Exception as error:  # whatever the methods of the value raise
        raise _cannot(what, "unpickled", error) from None


def _cannot(what: str, how: str, error: Exception) -> SchemaMismatch:
    told = shown(error)
    return SchemaMismatch(
        f"{what} cannot be {how} ({told.type}: {told.message}). Use plain values, and classes at "
        'the top of a module; or leave pool="processes" out'
    )


# --- errors -----------------------------------------------------------------------------------


class _SentError(NamedTuple):
    """One error of a chain: as a pickle, or what is known of it where it has none."""

    pickled: bytes | None
    bases: str
    message: str
    traceback: str


def sent_error(error: BaseException) -> bytes:
    """Return an error with its causes and tracebacks as bytes; this always works."""
    return pickle.dumps([_sent(each) for each in chain_of(error)], _PROTOCOL)


def received_error(data: bytes) -> BaseException:
    """Return the error that was sent, with the causes that it had."""
    first: BaseException | None = None
    for each in reversed(pickle.loads(data)):
        error = _made(each)
        error.__cause__, first = first, error
    assert first is not None, "a chain holds the error itself"
    return first


def _sent(error: BaseException) -> _SentError:
    told = shown(error, is_ours)
    ((_, bases),) = bases_of(error)
    pickled = next(filter(None, (_pickled(each) for each in _forms(error))), None)
    return _SentError(pickled, bases.decode() or told.type, told.message, told.traceback)


def _forms(error: BaseException) -> list[BaseException]:
    """Return what an error may be sent as, the best first."""
    if not isinstance(error, ApplicationError):
        return [error]
    try:
        made = [
            ApplicationError(
                shown(error).message,
                type=error.type,
                details=details,
                retryable=error.retryable,
                next_delay=error.next_delay,
                benign=error.benign,
            )
            for details in (error.details, None)
        ]
    except Exception:  # one whose __init__ was not called, or whose properties raise
        return [error]
    return [error, *made]


def _pickled(error: BaseException) -> bytes | None:
    """Return a pickle of an error, None where it does not come back from it."""
    try:
        data = pickle.dumps(error, _PROTOCOL)
        again = pickle.loads(data)
        return data if type(again) is type(error) and str(again) == str(error) else None
    except BaseException:  # whatever the methods of its class raise, SystemExit too
        return None


def _made(sent: _SentError) -> BaseException:
    error: BaseException | None = None
    if sent.pickled is not None:
        try:
            error = pickle.loads(sent.pickled)
        except BaseException:  # of a class that only the process has, or that raises SystemExit
            error = None
    if not isinstance(error, BaseException):
        kind: type[Exception] = Exception
        for name in reversed(sent.bases.split(",")):
            kind = kind if name == kind.__name__ else type(name, (kind,), {"__module__": ""})
        error = kind(sent.message)
    _DICT.__get__(error)[CARRIED] = sent.traceback
    return error
