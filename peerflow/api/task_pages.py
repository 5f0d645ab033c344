"""Pages of a run's tasks, read in slices, so that neither a long page nor large results hold up the loop or fill the memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from engine.states import TaskState
from peerflow.api.json_answer import encode
from peerflow.api.params import bad_cursor, read_cursor, write_cursor
from peerflow.api.render import task_object
from storage.store import Store
from storage.views import TaskView

SLICE: Final = 250
"""Tasks read at once: even with results of 256 KiB each that is 64 MiB."""
SCANNED: Final = 2_000
"""Tasks that a filtered page looks at."""
PAGE_BYTES: Final = 16 * 1024 * 1024
"""A page ends once it is this long; the task that makes it so is still on it."""
CURSOR: Final = "tasks"


@dataclass(slots=True)
class TaskPage:
    """Encoded task objects, and where the next page starts (None after the last task)."""

    next_start: int | None
    tasks: list[bytes] = field(default_factory=list[bytes])
    length: int = 0

    @property
    def next_cursor(self) -> str | None:
        return None if self.next_start is None else write_cursor(CURSOR, str(self.next_start))

    def close_answer(self, head: bytes) -> bytes:
        """`head` is an encoded JSON object; the tasks and the cursor become its last two members."""
        opening = head[:-1] + (b"," if len(head) > 2 else b"")
        return b"".join([opening, b'"tasks":[', b",".join(self.tasks), b'],"next_cursor":', encode(self.next_cursor), b"}"])

    def take(self, views: list[TaskView], status: TaskState | None, limit: int) -> bool:
        """Adds those of the given state; True once the page is full, with `next_start` behind the last one looked at."""
        for view in views:
            if status is None or view.state is status:
                text = encode(task_object(view))
                self.tasks.append(text)
                self.length += len(text)
            self.next_start = view.index + 1
            if len(self.tasks) == limit or self.length >= PAGE_BYTES:
                return True
        return False


def start_of(cursor: str | None) -> int:
    """The first task of the page that a cursor points to."""
    place = read_cursor(CURSOR, cursor)
    if place is None:
        return 0
    if not (place.isdecimal() and len(place) < 10):
        raise bad_cursor()
    return int(place)


async def read_page(
    store: Store, run_id: str, *, total: int, start: int, limit: int, status: TaskState | None = None, first: list[TaskView] | None = None
) -> TaskPage:
    """Up to `limit` tasks from `start` on, in the definition's order; fewer where they are long or the filter passes few.

    `first` are tasks already read from `start` on.
    """
    page = TaskPage(next_start=start)
    end = total if status is None else min(total, start + SCANNED)
    views = first or []
    at = start
    while at < end:
        if not views:
            wanted = limit - len(page.tasks) if status is None else SLICE
            views = await store.get_tasks(run_id, start=at, count=min(SLICE, wanted, end - at))
        if page.take(views, status, limit) or not views:
            break
        at += len(views)
        views = []
    if page.next_start is not None and page.next_start >= total:
        page.next_start = None
    return page
