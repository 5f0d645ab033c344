"""Progress on a terminal: one bar for the run, a row for each failed, stuck, waiting and running task, never more rows than it has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from engine.states import TaskState
from peerflow.answers import Run, Task
from peerflow.cli.output import STYLES, cell, clean, duration
from peerflow.cli.snapshot import Snapshot
from peerflow.cli.summary import last_word
from peerflow.client import ApiError, PodUnreachable

# In the order in which they fill the bar; what is left of it is dim.
BAR_STATES = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.SKIPPED, TaskState.CANCELLED, TaskState.RUNNING)
# The bar, the counts, why nothing runs, an empty line, a note and the shell's own line.
OTHER_LINES = 6
# Leaves half of a usual terminal for what is said of the task.
LONGEST_NAME = 44
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Bar:
    """A line as wide as the space it gets, with a coloured part for each state; every state with a task has at least one cell."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, empty = ("#", "-") if options.ascii_only else ("━", "━")
        text = Text(no_wrap=True, end="")
        for state, width in self.widths(options.max_width):
            text.append((empty if state is None else full) * width, style="bright_black" if state is None else STYLES[state])
        yield text

    def widths(self, cells: int) -> Iterator[tuple[TaskState | None, int]]:
        """Cells for each state, then for what has not started; in all exactly `cells`."""
        left = cells
        total = max(self.run.total, 1)
        for state in BAR_STATES:
            count = self.run.counts.get(state, 0)
            width = min(left, max(1, count * cells // total)) if count else 0
            left -= width
            if width:
                yield state, width
        if left:
            yield None, left


class LiveView:
    """Redraws in place ten times a second, so that the elapsed times move between two answers; leaves nothing behind."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._began = clock()
        self._snapshot: Snapshot | None = None
        self._silence: PodUnreachable | ApiError | None = None
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=10, transient=True, vertical_overflow="crop")

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *details: object) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        if self._snapshot is None and snapshot.run.started_at is not None:
            # Who begins to watch late sees the run's time, not the watcher's; from here on this machine's clock counts.
            self._began -= max(0.0, (datetime.now(UTC) - snapshot.run.started_at).total_seconds())
        self._snapshot, self._silence = snapshot, None

    def silent(self, error: PodUnreachable | ApiError) -> None:
        self._silence = error

    def render(self) -> RenderableType:
        """The picture of this moment; called by rich's own thread, so it reads each attribute once."""
        snapshot, silence = self._snapshot, self._silence
        if snapshot is None:
            return Text("asking …", style="dim")
        parts: list[RenderableType] = [self._headline(snapshot), self._counts(snapshot)]
        if snapshot.run.reason and not snapshot.run.finished:
            parts.append(cell(snapshot.run.reason, 400, "yellow"))
        rows = list(task_rows(snapshot, max(1, self._console.height - OTHER_LINES), datetime.now(UTC)))
        if rows:
            parts.append(_grid(rows))
        if silence is not None:
            parts.append(cell(f"asking again: {silence}", style="yellow"))
        return Group(*parts)

    def _headline(self, snapshot: Snapshot) -> RenderableType:
        run = snapshot.run
        line = Table.grid(expand=True, padding=(0, 1))
        for ratio in (None, None, 1, None, None):
            line.add_column(ratio=ratio, no_wrap=True)
        frame = FRAMES[int(self._clock() * 10) % len(FRAMES)] if self._console.encoding.startswith("utf") else "*"
        elapsed = self._clock() - self._began if run.duration_seconds is None else run.duration_seconds
        line.add_row(Text(frame, style="cyan"), cell(run.name, 30), Bar(run), f"{run.done:,}/{run.total:,}", duration(elapsed))
        return line

    def _counts(self, snapshot: Snapshot) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        for state in TaskState:
            if count := snapshot.count(state):
                text.append(f"{count:,} {state}  ", style=STYLES[state])
        return text


Row = tuple[Text, Text, Text]


def task_rows(snapshot: Snapshot, room: int, now: datetime) -> Iterator[Row]:
    """At most `room` rows: failures get up to a third, then ready tasks that nobody can run and waiting tasks up to a third of the rest
    each, then what runs.

    Running tasks that do not fit are told in groups, one row for each function.
    """
    failed = _some(snapshot.failed, snapshot.count(TaskState.FAILED), max(1, room // 3), TaskState.FAILED, now)
    room -= len(failed)
    stuck = _some(snapshot.stuck, len(snapshot.stuck), max(1, room // 3) if room else 0, TaskState.READY, now)
    room -= len(stuck)
    waiting = _some(snapshot.waiting, snapshot.count(TaskState.WAITING), max(1, room // 3) if room else 0, TaskState.WAITING, now)
    room -= len(waiting)
    yield from failed
    yield from stuck
    yield from waiting
    running = snapshot.count(TaskState.RUNNING)
    if running <= room:
        yield from (_row(task, now) for task in snapshot.running[:room])
    else:
        yield from _group_rows(snapshot, room, now)


def _some(tasks: list[Task], total: int, room: int, state: TaskState, now: datetime) -> list[Row]:
    if total <= room:
        return [_row(task, now) for task in tasks[:room]]
    rows = [_row(task, now) for task in tasks[: max(0, room - 1)]]
    return [*rows, (Text(f"… {total - len(rows):,} more {state}", style=STYLES[state]), Text(), Text())] if room else []


def _group_rows(snapshot: Snapshot, room: int, now: datetime) -> Iterator[Row]:
    groups = snapshot.running_groups()
    shown = groups if len(groups) <= room else groups[: max(0, room - 1)]
    unseen = snapshot.count(TaskState.RUNNING) - sum(group.count for group in shown)
    for index, group in enumerate(shown):
        # A page holds the first tasks only: what it does not show is said with the last group.
        more = f" and {unseen:,} others" if unseen > 0 and index == len(shown) - 1 and len(shown) == len(groups) else ""
        name = cell(f"{clean(group.function, LONGEST_NAME)} × {group.count:,}{more}", style="cyan")
        yield name, _age(group.oldest_started_at, now, "longest "), Text()
    if room and len(groups) > room:
        yield Text(f"… {unseen:,} more running", style="cyan"), Text(), Text()


def _row(task: Task, now: datetime) -> Row:
    style = STYLES[task.status]
    name = task.id if task.id == task.task else f"{task.id}  ({task.task})"
    attempt = f"attempt {task.attempts} " if task.attempts > 1 else ""
    if task.status is TaskState.FAILED:
        return cell(name, LONGEST_NAME, style), Text(duration(task.duration_seconds)), last_word(task)
    if task.status is TaskState.READY:
        return cell(name, LONGEST_NAME, style), _age(task.ready_at, now), cell(task.reason, 200, "yellow")
    if task.status is TaskState.WAITING:
        return cell(name, LONGEST_NAME, style), _until(task.retry_at, now), cell(attempt + last_word(task).plain, style="yellow")
    return cell(name, LONGEST_NAME, style), _age(task.started_at, now), cell(attempt + (task.pod or ""), 60, "dim")


def _age(since: datetime | None, now: datetime, prefix: str = "") -> Text:
    """Time since an instant of Redis's clock; a terminal whose clock is behind shows 0."""
    return Text() if since is None else Text(prefix + duration(max(0.0, (now - since).total_seconds())))


def _until(at: datetime | None, now: datetime) -> Text:
    return Text("waiting") if at is None else Text(f"in {duration(max(0.0, (at - now).total_seconds()))}")


def _grid(rows: Iterable[Row]) -> Table:
    grid = Table.grid(padding=(0, 2))
    # Only the last column gives way where the terminal is narrow; its texts are cut, because `cell` makes them so.
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column()
    for row in rows:
        grid.add_row(*row)
    return grid
