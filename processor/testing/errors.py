"""What ends a wait in the test environment that would end in nothing else."""

from __future__ import annotations

from processor.errors import ProcessorError

__all__ = ("ActivityNotRegistered", "NoEndInSight", "NothingLeft")


class ActivityNotRegistered(ProcessorError):
    """A workflow calls an activity that the environment has neither as it is nor as a mock."""


class NothingLeft(ProcessorError, TimeoutError):
    """A result was waited for, and nothing is left that could bring it: no timer, no attempt.

    The message says what the run waits for. A test that sends it later sends it within a second.
    """


class NoEndInSight(ProcessorError, TimeoutError):
    """A wait let more happen than it may: an activity is retried, or code loops, without an end.

    The message names the activity with its last error, or the run and the lines it waits at.
    """
