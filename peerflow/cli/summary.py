"""A run and its tasks as text, once: for `status`, and at the end of a watched run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from engine.states import TaskState
from peerflow.answers import Run, Task
from peerflow.cli.output import cell, clean, compact_json, duration, instant, plural, state_text, table


def print_run(console: Console, run: Run) -> None:
    """Two or three lines: what it is, how far it got, why it ended so."""
    name = f" {clean(run.name, 60)}" if run.name else ""
    console.print(Text.assemble("run ", (run.run_id, "bold"), name, " ", state_text(run.status), f", {outcome(run)}"))
    if run.reason:
        console.print(Text(f"  {clean(run.reason, 400)}", style="yellow"))
    moments = (("created", run.created_at), ("started", run.started_at), ("finished", run.finished_at))
    times = [f"{word} {instant(at)}" for word, at in moments if at]
    labels = [f"{clean(key)}={clean(value)}" for key, value in run.labels.items()]
    console.print(Text("  " + ", ".join(times + labels), style="dim"))


def outcome(run: Run) -> str:
    """`3 tasks: 2 succeeded, 1 failed, in 0.12 s`."""
    counts = ", ".join(f"{count:,} {state}" for state, count in run.counts.items() if count)
    took = f", in {duration(run.duration_seconds)}" if run.duration_seconds is not None else ""
    return f"{plural(run.total, 'task')}: {counts}{took}" if counts else f"{plural(run.total, 'task')}{took}"


def print_tasks(console: Console, tasks: Sequence[Task]) -> None:
    """A row for each task; the last column has the result, the error or the reason of a wait, as far as the width goes."""
    if not tasks:
        return
    rows = table("task", "function", "status", "attempts", "took", "pod", "result", right=("attempts", "took"), long=("function", "result"))
    for task in tasks:
        attempts = f"{task.attempts}" + (f" ({task.lost} lost)" if task.lost else "")
        took = duration(task.duration_seconds)
        rows.add_row(cell(task.id, 50), cell(task.task, 40), state_text(task.status), attempts, took, cell(task.pod, 20), last_word(task))
    console.print(rows)


def last_word(task: Task) -> Text:
    """The result, or why there is none (yet), on one line."""
    if task.error is not None and task.status is not TaskState.SUCCEEDED:
        again = f", again at {instant(task.retry_at)[11:]}" if task.retry_at and not task.status.terminal else ""
        error = f"{task.error.type}: {task.error.message}" if task.error.message else task.error.type
        return cell(clean(error, 200) + again, style="red")
    if task.status is TaskState.SUCCEEDED:
        return cell(compact_json(task.result, 200))
    # A ready task has a reason only where something is wrong.
    return cell(task.reason, 200, "yellow" if task.status is TaskState.READY else "dim")
