"""The public surface: what users import, and what importing it costs."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import processor

MODULES = sorted(module.name for module in pkgutil.walk_packages(processor.__path__, "processor."))
THIRD_PARTIES = ("msgspec", "fastavro", "rocksdict", "confluent_kafka", "typer", "rich", "yaml")
GOLDEN_NAMES = {
    "ActivityFailed", "ActivityTimedOut", "ApplicationError", "Client", "NonDeterminismError",
    "PayloadTooLarge", "ProcessorError", "RetryPolicy", "SchemaMismatch", "ShardUnavailable",
    "Worker", "WorkflowAlreadyStarted", "WorkflowCancelled", "WorkflowFailed", "WorkflowNotFound",
    "WorkflowTerminated", "WorkflowTimedOut", "activity", "workflow",
}  # fmt: skip


@pytest.mark.parametrize("name", [m for m in MODULES if not m.endswith("__main__")])
def test_every_name_that_is_exported_exists(name: str) -> None:
    module = importlib.import_module(name)
    names = getattr(module, "__all__", ())
    assert isinstance(names, tuple), "__all__ is a tuple"
    for exported in names:
        assert getattr(module, exported) is not None


def test_the_package_holds_what_users_need() -> None:
    assert set(processor.__all__) >= GOLDEN_NAMES
    assert list(processor.__all__) == sorted(processor.__all__, key=lambda n: (n.lower() == n, n))


def test_every_error_is_imported_from_the_package() -> None:
    """Whoever catches an error need not know in which module it is."""
    errors = {name for name in processor.errors.__all__ if name not in ("ChildEnd", "TimeoutKind")}
    assert errors - {*processor.__all__} == set()


def test_workflow_modules_stay_light() -> None:
    """Importing a workflow module pulls in no third party."""
    code = f"import sys, examples.orders; print([m for m in {THIRD_PARTIES!r} if m in sys.modules])"
    root = Path(processor.__file__).parent.parent
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert found.stdout.strip() == "[]"


def test_the_error_tree_is_drawn_as_it_is() -> None:
    drawn = processor.errors.__doc__ or ""
    for name in processor.errors.__all__:
        error = getattr(processor.errors, name)
        if isinstance(error, type):
            assert issubclass(error, processor.ProcessorError)
            assert name in drawn
