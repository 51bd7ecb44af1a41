"""Durable execution for Python on the Kafka that you already run.

Everything that workflow, activity and client code needs stands here. ``Client`` and ``Worker``
are imported when they are first used, so that workflow modules stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from processor import activity, connect, entity, workflow
from processor.config import Settings
from processor.errors import (
    ActivityCancelled,
    ActivityError,
    ActivityFailed,
    ActivityNotOpen,
    ActivityTimedOut,
    ApplicationError,
    ChildFailed,
    CommandRejected,
    CorrelationTaken,
    InvalidArgument,
    KeyReused,
    LockLost,
    LogTruncated,
    NamespaceForbidden,
    NamespaceNotFound,
    NonDeterminismError,
    PayloadCodecError,
    PayloadTooLarge,
    ProcessorError,
    PromiseNotOpen,
    QueryFailed,
    ReleaseTooOld,
    RequestError,
    RequestExpired,
    SchemaMismatch,
    ShardUnavailable,
    StateDirectoryInUse,
    StoreCorrupt,
    TableStopped,
    TooNew,
    TopicsNotReady,
    UpdateError,
    UpdateFailed,
    UpdateNotFound,
    UpdateRejected,
    UpdateUnfinished,
    UpgradeNeeded,
    ValueNotSet,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowContinued,
    WorkflowError,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowNotRegistered,
    WorkflowParked,
    WorkflowTerminated,
    WorkflowTimedOut,
)
from processor.injection.interceptors import Interceptor
from processor.injection.payloads import PayloadCodec, PayloadConverter
from processor.policy import RetryPolicy, Status

if TYPE_CHECKING:
    from processor.client import Client, Handle, HistoryEvent, RunDescription, UpdateHandle
    from processor.worker import Worker

__all__ = (
    "ActivityCancelled",
    "ActivityError",
    "ActivityFailed",
    "ActivityNotOpen",
    "ActivityTimedOut",
    "ApplicationError",
    "ChildFailed",
    "Client",
    "CommandRejected",
    "CorrelationTaken",
    "Handle",
    "HistoryEvent",
    "Interceptor",
    "InvalidArgument",
    "KeyReused",
    "LockLost",
    "LogTruncated",
    "NamespaceForbidden",
    "NamespaceNotFound",
    "NonDeterminismError",
    "PayloadCodec",
    "PayloadCodecError",
    "PayloadConverter",
    "PayloadTooLarge",
    "ProcessorError",
    "PromiseNotOpen",
    "QueryFailed",
    "ReleaseTooOld",
    "RequestError",
    "RequestExpired",
    "RetryPolicy",
    "RunDescription",
    "SchemaMismatch",
    "Settings",
    "ShardUnavailable",
    "StateDirectoryInUse",
    "Status",
    "StoreCorrupt",
    "TableStopped",
    "TooNew",
    "TopicsNotReady",
    "UpdateError",
    "UpdateFailed",
    "UpdateHandle",
    "UpdateNotFound",
    "UpdateRejected",
    "UpdateUnfinished",
    "UpgradeNeeded",
    "ValueNotSet",
    "Worker",
    "WorkflowAlreadyStarted",
    "WorkflowCancelled",
    "WorkflowContinued",
    "WorkflowError",
    "WorkflowFailed",
    "WorkflowNotFound",
    "WorkflowNotRegistered",
    "WorkflowParked",
    "WorkflowTerminated",
    "WorkflowTimedOut",
    "activity",
    "connect",
    "entity",
    "workflow",
)

_LAZY = {
    "Client": "processor.client",
    "Handle": "processor.client",
    "HistoryEvent": "processor.client",
    "RunDescription": "processor.client",
    "UpdateHandle": "processor.client",
    "Worker": "processor.worker",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'processor' has no attribute {name!r}")
