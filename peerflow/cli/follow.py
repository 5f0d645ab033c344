"""Follows a run to its end: asks little, backs off while nothing changes, and outlives the pods that it asks.

Each round asks for the run's counts and, only where they say that there is something to see, for one page of the running, waiting and
failed tasks; so a round costs the same for a run of ten tasks and of a hundred thousand.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from engine.states import TaskState
from peerflow.answers import Run, Task
from peerflow.cli.live_view import LiveView
from peerflow.cli.output import print_json, stdout
from peerflow.cli.plain_view import PlainView
from peerflow.cli.snapshot import Snapshot
from peerflow.cli.summary import outcome, print_run, print_tasks
from peerflow.cli.window import SHOWN_TASKS, Window
from peerflow.client import ApiError, Client, PodUnreachable

FIRST_PAUSE_SECONDS = 0.2
LAST_PAUSE_SECONDS = 1.0
# At most a fifth of the time goes into asking, however slow the answers are.
PAUSE_PER_ROUND = 4.0
# A pod that starts again, or a Redis that fails over, is back within this; a watcher waits for it.
PATIENCE_SECONDS = 60.0
# Runs up to this size end with a table of all tasks, larger ones with a table of what failed.
SMALL_RUN = 30


class View(Protocol):
    """What a follower tells; calls come from one thread."""

    def __enter__(self) -> object: ...
    def __exit__(self, *details: object) -> None: ...
    def show(self, snapshot: Snapshot) -> None:
        """A new state of the run."""

    def silent(self, error: PodUnreachable | ApiError) -> None:
        """No pod answers at present; the follower goes on asking."""


@dataclass(frozen=True, slots=True)
class NoView:
    """Shows nothing: `--json` prints one document at the end."""

    def __enter__(self) -> None: ...
    def __exit__(self, *details: object) -> None: ...
    def show(self, snapshot: Snapshot) -> None: ...
    def silent(self, error: PodUnreachable | ApiError) -> None: ...


def follow(client: Client, run_id: str, *, as_json: bool = False) -> Run:
    """Shows the run's progress until it has finished, then a summary, and returns the finished run."""
    console = stdout()
    view: View = NoView() if as_json else LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)
    try:
        with view:
            run = watch(client, run_id, view)
    except KeyboardInterrupt:
        sys.stderr.write(f"stopped watching; the run goes on: peerflow status {run_id} --wait\n")
        raise
    if as_json:
        print_json(run.model_dump(mode="json"))
        return run
    if isinstance(view, PlainView):
        console.print(f"{run.status}: {outcome(run)}")
    else:
        print_run(console, run)
    print_tasks(console, _worth_listing(client, run))
    return run


def watch(
    client: Client,
    run_id: str,
    view: View,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Run:
    """Polls until the run has finished; raises PodUnreachable where no pod answers for PATIENCE_SECONDS."""
    pause_seconds = FIRST_PAUSE_SECONDS
    run = client.run(run_id)
    client.connection.patience_seconds = PATIENCE_SECONDS
    client.connection.on_silence = view.silent
    running, waiting, failed = Window(TaskState.RUNNING), Window(TaskState.WAITING), Window(TaskState.FAILED, stays=False)
    ready, stuck, changed = Window(TaskState.READY), list[Task](), True
    failures: dict[str, Task] = {}
    while True:
        asked_at = clock()
        if len(failures) < min(run.counts.get(TaskState.FAILED, 0), SHOWN_TASKS):
            failures |= {task.id: task for task in failed.look(client, run)}
        # Tasks that are ready run in a moment: only those of a run that stands still are worth a look.
        if not changed or not run.counts.get(TaskState.READY, 0):
            stuck = ready.look(client, run)
        view.show(Snapshot(run, running.look(client, run), waiting.look(client, run), list(failures.values()), stuck))
        if run.finished:
            return run
        sleep(max(pause_seconds, PAUSE_PER_ROUND * (clock() - asked_at)))
        before, run = run, client.run(run_id)
        changed = (before.counts, before.status) != (run.counts, run.status)
        pause_seconds = FIRST_PAUSE_SECONDS if changed else min(pause_seconds * 1.5, LAST_PAUSE_SECONDS)


def _worth_listing(client: Client, run: Run) -> list[Task]:
    if run.total <= SMALL_RUN:
        return list(client.tasks(run.run_id))
    failures = run.counts.get(TaskState.FAILED, 0)
    return list(islice(client.tasks(run.run_id, status=TaskState.FAILED), SMALL_RUN)) if failures else []
