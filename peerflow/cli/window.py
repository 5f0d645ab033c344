"""Finds the tasks in one state without reading the whole of a large run each time.

A pod looks at a bounded number of tasks for each page, so in a run of 100,000 tasks the first page with a running one may be the
fortieth. What runs is mostly next to what ran a moment ago: each look begins where the last one found something.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.states import TaskState
from peerflow.answers import Run, Task
from peerflow.client import Client

# Tasks of one state that are asked for, at most; a terminal has fewer rows, and shows running ones in groups.
SHOWN_TASKS = 200
# Pages of one look; a few looks go through a run of any size that is accepted.
PAGES = 3


@dataclass(slots=True)
class Window:
    """Where the next look begins; a look that comes to the end of the run begins at its start the next time."""

    state: TaskState
    stays: bool = True
    """True for states that tasks leave again: the place is good until it is empty. False: each look goes on behind the last one."""
    cursor: str | None = None

    def look(self, client: Client, run: Run) -> list[Task]:
        """Up to SHOWN_TASKS tasks in the state; asks nothing where the run's counts have none, or cannot change any more."""
        count = run.counts.get(self.state, 0)
        if not count:
            return []
        wanted, found = min(count, SHOWN_TASKS), list[Task]()
        cursor, first_hit, hit = self.cursor, self.cursor, False
        for _ in range(PAGES):
            page = client.task_page(run.run_id, status=self.state, cursor=cursor, limit=SHOWN_TASKS)
            if page.tasks and not hit:
                first_hit, hit = cursor, True
            found += page.tasks
            cursor = page.next_cursor
            if cursor is None or len(found) >= wanted:
                break
        complete, at_end = len(found) >= wanted, cursor is None
        # At the end, some may stand before the place where this look began: the next one goes all the way round.
        self.cursor = first_hit if complete or (hit and self.stays and not at_end) else cursor
        return found[:SHOWN_TASKS]
