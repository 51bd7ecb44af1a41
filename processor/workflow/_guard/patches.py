"""All that is patched in the process, and the one place that does it (``docs/patched.md``)."""

from __future__ import annotations

from processor.workflow._guard.guard import install
from processor.workflow._guard.ordering import put_in_order

__all__ = ("patch_process",)


def patch_process() -> None:
    """Patch the process for workflow code, for good; elsewhere nothing changes.

    Only the hooks of asynchronous generators are not here: each thread has its own, and so
    ``generators.stand_in`` sets them where workflow code begins to run.
    """
    install()
    put_in_order()
