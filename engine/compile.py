"""Compiles definitions into graphs, and says everything that is wrong with those that cannot be.

Iterative and O(tasks + edges), except for steps inside steps, whose nesting has a limit.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import JsonValue

from engine.checks import check_args, check_cycles, check_functions, check_ids
from engine.definition import WorkflowDefinition, read_definition
from engine.draft import Draft, draft_of
from engine.graph import Graph, GraphTask
from engine.limits import DEFAULT_LIMITS, NO_LIMITS, Limits
from engine.problems import Problems
from engine.salvage import salvage


def compile_definition(definition: WorkflowDefinition, *, functions: Collection[str] | None = None, limits: Limits = NO_LIMITS) -> Graph:
    """The graph of a definition.

    `functions` are the names that tasks may call; None does not ask. Neither functions nor limits are asked for a stored definition: it is
    compiled again on pods that may know fewer and be given narrower ones.
    Raises DefinitionError with all problems, their pointers as in the posted document.
    """
    problems = Problems()
    draft = _checked(definition, functions, limits, problems)
    problems.raise_if_any()
    return _graph(definition, draft)


def compile_document(
    value: JsonValue, *, functions: Collection[str] | None = None, limits: Limits = DEFAULT_LIMITS
) -> tuple[WorkflowDefinition, Graph]:
    """A posted JSON value's definition and graph.

    Raises DefinitionError with wrong fields and broken dependencies together: the readable parts of a wrong definition are checked too.
    """
    problems = Problems()
    definition = read_definition(value, limits, problems)
    if definition is None:
        readable = None if problems.full else salvage(value, limits)
        if readable is not None:
            _checked(readable, functions, limits, problems)
        raise problems.error()
    return definition, compile_definition(definition, functions=functions, limits=limits)


def _checked(definition: WorkflowDefinition, functions: Collection[str] | None, limits: Limits, problems: Problems) -> Draft:
    draft = draft_of(definition, limits, problems)
    if functions is not None:
        check_functions(draft, frozenset(functions), problems)
    check_ids(draft, problems)
    check_args(draft, limits, problems)
    if definition.tasks is not None:
        # Steps have no cycles, and a product of edges beyond the limit must not be walked.
        check_cycles(draft, problems)
    return draft


def _graph(definition: WorkflowDefinition, draft: Draft) -> Graph:
    run_priority = definition.priority
    tasks = tuple(
        GraphTask(
            index=index,
            id=task_id,
            function=spec.task,
            args=spec.args,
            queue=spec.queue,
            priority=run_priority if spec.priority is None else spec.priority,
            retry=spec.retry,
            timeout_seconds=spec.timeout,
            heartbeat_timeout_seconds=spec.heartbeat_timeout,
            allow_failure=spec.allow_failure,
        )
        for index, (task_id, spec) in enumerate(zip(draft.ids, draft.specs, strict=True))
    )
    return Graph(
        name=definition.name,
        tasks=tasks,
        index_of={task_id: index for index, task_id in enumerate(draft.ids)},
        successors=tuple(map(tuple, draft.successors)),
        predecessors=tuple(draft.predecessors),
        roots=tuple(index for index, before in enumerate(draft.predecessors) if not before),
        on_failure=definition.on_failure,
    )
