"""Errors at the command line: one message for people, and an exit code for scripts."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from processor.api.options import MODULES
from processor.cli.output import say_error
from processor.errors import InvalidArgument, ProcessorError, WorkflowError

__all__ = (
    "EXIT_CODES",
    "FAILED",
    "REFUSED",
    "UNANSWERED",
    "UNFINISHED",
    "USAGE",
    "GuardedGroup",
    "exit_code",
)

FAILED = 1
USAGE = 2
REFUSED = 3
UNANSWERED = 4
UNFINISHED = 5

EXIT_CODES = (
    "Exit codes: 0 done; 1 a run ended without a result, or a check found errors; 2 wrong usage; "
    "3 not found, or refused; 4 nobody answered (no broker, or no worker); "
    "5 the time is up, and the run is not at its end."
)
UNANSWERED_ERRORS = frozenset(("BrokerUnavailable", "BrokerUnreachable", "ShardUnavailable"))
"""By name: two of them are defined beside Kafka's client, which may not be installed."""

EXTRAS = {
    "avro": "schemas",
    "confluent_kafka": "kafka",
    "faust": "views",
    "yaml": "kafka",
    **dict.fromkeys(MODULES, "http"),
}
"""What has to be installed for a module that is not there."""

ERRORS_OF_LINES = frozenset(("BrokerUnavailable", "TopicsNotReady"))
"""Their texts are made here, on several lines; others hold what somebody else wrote."""


class GuardedGroup(TyperGroup):
    """The top of the command tree, where every error of a command ends."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ProcessorError, TimeoutError) as error:
            say_error(str(error), lines=type(error).__name__ in ERRORS_OF_LINES)
            raise typer.Exit(exit_code(error)) from error
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            extra = EXTRAS[error.name]
            say_error(
                f"{error.name} is not installed. In a clone of processor's repository, run: "
                f"pip install '.[{extra}]'"
            )
            raise typer.Exit(USAGE) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            say_error(f"{error}. Check the path and its permissions, then try again")
            raise typer.Exit(REFUSED) from error


def exit_code(error: BaseException) -> int:
    """Return what an error means to a script."""
    if isinstance(error, WorkflowError):
        return FAILED
    if isinstance(error, InvalidArgument):
        return USAGE
    if isinstance(error, TimeoutError) or type(error).__name__ in UNANSWERED_ERRORS:
        return UNANSWERED
    return REFUSED
