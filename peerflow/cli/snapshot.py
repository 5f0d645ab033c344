"""What a follower knows of a run at one moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from engine.states import TaskState
from peerflow.answers import Run, Task


@dataclass(frozen=True, slots=True)
class Group:
    """Running tasks of one function, told together."""

    function: str
    count: int
    oldest_started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The run's counts, and of the tasks in four states those that fit a page each."""

    run: Run
    running: list[Task] = field(default_factory=list[Task])
    waiting: list[Task] = field(default_factory=list[Task])
    failed: list[Task] = field(default_factory=list[Task])
    ready: list[Task] = field(default_factory=list[Task])
    """Looked at only while nothing changes."""

    @property
    def stuck(self) -> list[Task]:
        """Ready tasks that no living pod can run."""
        return [task for task in self.ready if task.reason]

    def count(self, state: TaskState) -> int:
        return self.run.counts.get(state, 0)

    def running_groups(self) -> list[Group]:
        """The running tasks of the page by function, most tasks first."""
        counts = Counter(task.task for task in self.running)
        oldest: dict[str, datetime] = {}
        for task in self.running:
            if task.started_at is not None:
                oldest[task.task] = min(task.started_at, oldest.get(task.task, task.started_at))
        return [Group(function, count, oldest.get(function)) for function, count in counts.most_common()]
