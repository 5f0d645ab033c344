"""What a user posts: steps or a DAG, as frozen models that round-trip through JSON.

The models check types and ranges; `engine.compile` checks what the parts mean together. Both accept exactly what JSON says:
`true` is no integer, `"3"` is no number, an unknown field is an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, StringConstraints, Tag, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from engine.excerpt import excerpt
from engine.limits import DEFAULT_LIMITS, ID_PATTERN, Limits
from engine.problems import Problems
from engine.refusals import WRONG_FORM, problems_from
from engine.size import check_size

MAX_SECONDS = 10 * 365 * 86_400
"""The longest duration, ten years: far beyond use, and small enough for exact milliseconds everywhere."""

Identifier = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""One line for people: no control characters, so that logs and terminals show it as it is."""
ExceptionName = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*$")]
Priority = Annotated[int, Field(ge=-100, le=100)]
Duration = Annotated[float, Field(ge=0.001, le=MAX_SECONDS, allow_inf_nan=False)]
"""Seconds; at least the millisecond that storage counts in."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class WaitPolicy(_Model):
    """How long to wait between two attempts: `initial`, then `multiplier` times longer each time, up to `max`."""

    initial: Duration = 1.0
    """Seconds before the second attempt."""
    multiplier: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = 2.0
    """How many times longer each further wait is."""
    max: Duration = 60.0
    """Seconds that no wait exceeds, before jitter."""
    jitter: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.1
    """Random extra time, as a share of the wait: 0.1 makes 10 s into anything between 10 s and 11 s."""

    @model_validator(mode="after")
    def _max_is_not_below_initial(self) -> WaitPolicy:
        if self.max < self.initial:
            raise PydanticCustomError(
                "wait_order",
                "max ({max} s) must be at least initial ({initial} s)",
                {"max": f"{self.max:g}", "initial": f"{self.initial:g}"},
            )
        return self


DEFAULT_WAIT = WaitPolicy()
"""Shared by all that name no other: pydantic would copy a plain default, which took half the time of reading a large definition."""


class RetryPolicy(_Model):
    """How often a failed task is tried again, after which errors, and when. Attempts lost with a pod do not count."""

    max_attempts: Annotated[int, Field(ge=1, le=10_000)] = 1
    """All attempts together; 1 is no retry."""
    wait: WaitPolicy = Field(default_factory=lambda: DEFAULT_WAIT)
    on: Annotated[list[ExceptionName], Field(max_length=64)] = Field(default_factory=list[str])
    """Names of exception classes to try again after, their subclasses included; empty is every error."""


NO_RETRY = RetryPolicy()
"""Shared, as `DEFAULT_WAIT`."""


class TaskSpec(_Model):
    """One task: which function to call, with what, after which others."""

    task: Identifier
    """Name of the registered function to call."""
    id: Identifier | None = None
    """Only in steps: the task's id; without it the function's name, made unique by a suffix. In a DAG the key is the id."""
    args: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """Keyword arguments of the function, as plain JSON."""
    depends_on: list[Identifier] = Field(default_factory=list[str])
    """Only in a DAG: ids of the tasks that must end first."""
    retry: RetryPolicy = Field(default_factory=lambda: NO_RETRY)
    timeout: Duration | None = None
    """Seconds for one attempt; without it an attempt may take for ever."""
    heartbeat_timeout: Duration | None = None
    """Seconds within which an attempt's code must call `ctx.heartbeat()` again; without it the code need never call it."""
    allow_failure: bool = False
    """True: the run does not fail when this task does."""
    priority: Priority | None = None
    """Higher first; without it the run's."""
    queue: Identifier = "default"
    """Only pods that serve this queue take the task."""


def _kind_of_item(value: Any) -> str | None:
    """Which of the three kinds an item of `tasks` wants to be, so that only that kind's errors are shown; None is none of them."""
    if isinstance(value, str):
        return "function"
    if isinstance(value, TaskSpec):
        return "task"
    if isinstance(value, Step):
        return "step"
    if isinstance(value, dict):
        fields = cast(dict[object, object], value)
        if isinstance(fields.get("task"), str):
            return "task"
        return "step" if "type" in fields or "tasks" in fields else "task"
    return None


TaskItem = Annotated[
    Annotated[Identifier, Tag("function")] | Annotated[TaskSpec, Tag("task")] | Annotated["Step", Tag("step")],
    Discriminator(_kind_of_item, custom_error_type="item_kind", custom_error_message="is neither a function's name, a task nor a step"),
]


class Step(_Model):
    """Several items, one after the other or all at once. A step has ended when all its items have."""

    type: Literal["sequential", "parallel"]
    tasks: Annotated[list[TaskItem], Field(min_length=1)]
    """Functions' names, tasks, and steps inside this step."""


class WorkflowDefinition(_Model):
    """A workflow: either `steps`, which run one after the other, or `tasks`, a DAG by task id."""

    name: Text | None = None
    """For people, and for finding runs; need not be unique."""
    input: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    """What the run is about; kept with the run, never evaluated."""
    labels: Annotated[dict[Identifier, Text], Field(max_length=64)] = Field(default_factory=dict[str, str])
    """For finding runs."""
    priority: Priority = 0
    """Of every task that has none of its own; higher first."""
    on_failure: Literal["continue", "stop"] = "continue"
    """After a task has failed: go on with what does not depend on it, or cancel what has not ended."""
    retention: Annotated[float, Field(ge=1, le=MAX_SECONDS, allow_inf_nan=False)] | None = None
    """Seconds for which the finished run is kept; without it the pods' setting."""
    steps: Annotated[list[Step], Field(min_length=1)] | None = None
    tasks: Annotated[dict[Identifier, TaskSpec], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_form_only(self) -> WorkflowDefinition:
        if (self.steps is None) == (self.tasks is None):
            raise PydanticCustomError("one_form", "exactly one of steps and tasks must be given")
        return self

    def to_json(self) -> str:
        """Compact JSON without what is at its default; `model_validate_json` gives an equal definition back."""
        return self.model_dump_json(exclude_defaults=True)


FIELDS = {
    "run": WorkflowDefinition.model_fields.keys(),
    "step": Step.model_fields.keys(),
    "task": TaskSpec.model_fields.keys(),
    "retry": RetryPolicy.model_fields.keys(),
    "wait": WaitPolicy.model_fields.keys(),
}


ALL_FIELDS = frozenset(name for names in FIELDS.values() for name in names)

MAX_ERRORS = 5_000
"""More are not described, at 1 KB each: 100,000 wrong tasks would take half a gigabyte."""


def parse_definition(value: JsonValue, limits: Limits = DEFAULT_LIMITS) -> WorkflowDefinition:
    """The definition that a JSON value holds.

    Raises DefinitionError with every wrong type, value and field. A document with more tasks or dependencies than the limits is refused
    before it is looked at more closely. `engine.compile` checks what the parts mean together.
    """
    problems = Problems()
    definition = read_definition(value, limits, problems)
    if definition is None:
        raise problems.error()
    return definition


def read_definition(value: JsonValue, limits: Limits, problems: Problems) -> WorkflowDefinition | None:
    """As `parse_definition`, for callers with more to check: None where anything was noted."""
    check_size(value, limits, problems)
    if problems:
        return None
    try:
        return WorkflowDefinition.model_validate(value)
    except ValidationError as error:
        problems.add_all(problems_from(_describable(error, value), FIELDS))
    if isinstance(value, dict) and (value.get("steps") is None) == (value.get("tasks") is None):
        # pydantic asks for one form only when every part is right; whoever repairs the parts wants to know now.
        problems.add(*WRONG_FORM)
    return None


def _describable(error: ValidationError, value: JsonValue) -> list[ErrorDetails]:
    """The errors; where they are too many, those of the smallest excerpt of the document that has any."""
    width = 128
    while error.error_count() > MAX_ERRORS:
        try:
            WorkflowDefinition.model_validate(excerpt(value, width, ALL_FIELDS))
        except ValidationError as smaller:
            return smaller.errors(include_url=False)
        width *= 4
    return error.errors(include_url=False)
