"""Makes runners from the registered code: of workflows, and of entities."""

from __future__ import annotations

from collections.abc import Mapping

from processor.checks import ENTITY_MARK
from processor.config import Settings
from processor.core.entity_id import entity_of, is_entity_id
from processor.core.nouns.run import WorkflowStarted
from processor.core.runner import CodeError, Defaults, EntityCode, Kept
from processor.errors import WorkflowNotRegistered
from processor.registry import Registry
from processor.workflow._engine.flags import flags_of, unknown
from processor.workflow._engine.runner import WorkflowRunner
from processor.workflow._entities.runner import EntityRunner
from processor.workflow._guard.patches import patch_process

__all__ = ("WorkflowRunners",)


class WorkflowRunners:
    """Makes runners from the registered workflows."""

    def __init__(self, registry: Registry, settings: Settings | None = None) -> None:
        self._registry = registry
        self._settings = settings or Settings()
        if self._settings.guard:
            patch_process()
        self.strict = self._settings.strict_replay
        self.flags = flags_of(self._settings)
        self.defaults: Mapping[str, Defaults] = {
            name: Defaults(each.execution_timeout_ms, each.retry)
            for name, each in registry.workflows.items()
            if each.execution_timeout_ms is not None or each.retry is not None
        }

    def start(
        self, workflow_id: str, run_id: str, started: WorkflowStarted, now_ms: int
    ) -> WorkflowRunner | EntityRunner:
        """Return a fresh runner for a run of a registered workflow, or of an entity."""
        registry, settings = self._registry, self._settings
        self._check_flags(started)
        if is_entity_id(workflow_id) or started.workflow in registry.entities:
            return self._entity(workflow_id, run_id, started, EntityCode(None, at_ms=now_ms))
        workflow = registry.workflow_named(started.workflow)
        if workflow is None:
            known = ", ".join(sorted(registry.workflows)) or "none"
            raise WorkflowNotRegistered(
                f"workflow {started.workflow!r} is not registered in this worker (it has: {known})."
                " Add it to Worker(workflows=[...]) and deploy that"
            )
        runner = WorkflowRunner(workflow, started, workflow_id, run_id, registry, settings)
        runner.read_arguments(now_ms, started.arguments)
        return runner

    def resume(
        self, workflow_id: str, run_id: str, started: WorkflowStarted, kept: Kept
    ) -> EntityRunner:
        """Return a runner that goes on from a snapshot. Only an entity can."""
        if not isinstance(kept, EntityCode):
            raise WorkflowNotRegistered(
                f"run {run_id} of {started.workflow!r} has a snapshot, from which a workflow cannot"
                " go on. Start the release that wrote it"
            )
        self._check_flags(started)
        return self._entity(workflow_id, run_id, started, kept)

    def _entity(
        self, workflow_id: str, run_id: str, started: WorkflowStarted, code: EntityCode
    ) -> EntityRunner:
        registry, name = self._registry, started.workflow
        entity, id = registry.entities.get(name), entity_of(workflow_id)
        if entity is None:
            known = ", ".join(sorted(registry.entities)) or "none"
            raise WorkflowNotRegistered(
                f"entity {name!r} is not registered in this worker (it has: {known}). Add its "
                "class to Worker(entities=[...]) and deploy that"
            )
        if id is None or id.name != name:
            raise CodeError(
                "bug",
                f"{name!r} is an entity, and {workflow_id!r} no id of one, which begins with "
                f"{ENTITY_MARK}: call its operations, and start no workflow of that name",
            )
        which = started, workflow_id, run_id
        return EntityRunner(entity, id, *which, registry, self._settings, code)

    def _check_flags(self, started: WorkflowStarted) -> None:
        if strange := unknown(started.flags):
            raise WorkflowNotRegistered(
                f"the run was begun with {', '.join(strange)}, which this release does not know. "
                "Start a later release; the run goes on there"
            )

    def difference(self, recorded: bytes | None, now: bytes | None) -> str:
        return self._registry.payloads.difference(recorded, now)
