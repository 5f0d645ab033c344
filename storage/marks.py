"""What happened to tasks, as marks for `engine.explain`: from a run's events, or where those are too many, from the tasks' records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.explain import Mark
from engine.states import TaskState


@dataclass(frozen=True, slots=True)
class Head:
    """A task's record without its payload, and what else `heads` tells of it. Times are ms since the run's creation."""

    state: TaskState
    attempt: int = 0
    lost: int = 0
    ready: int | None = None
    started: int | None = None
    ended: int | None = None
    pod: str | None = None
    word: str = "-"
    """The claim while running; `backoff` or `sleep` while waiting."""
    parents_ended: int = 0
    """Predecessors that have ended; not counted where there is only one."""
    log: tuple[str, ...] = ()
    """`attempt ended_as started ended pod ready` of earlier attempts, in order."""

    @classmethod
    def parse(cls, row: Sequence[str]) -> Head:
        """From a row of `heads`: the head, the predecessors that ended, then the log."""
        words, ended = row[0].split(" "), int(row[1] or 0)
        if len(words) != 9:
            return cls(TaskState.PENDING, parents_ended=ended)
        state, attempt, lost, _, *times, pod, word = words
        ready, started, stopped = (None if time == "-" else int(time) for time in times)
        return cls(
            TaskState(state), int(attempt), int(lost), ready, started, stopped, None if pod == "-" else pod, word, ended, tuple(row[2:])
        )


def marks_of_events(lines: Iterable[str], created_at_ms: int, wanted: frozenset[int]) -> dict[int, list[Mark]]:
    """Index → marks in order, for the tasks in `wanted`. A line is "ms kind index attempt pod", perhaps with text behind."""
    found: dict[int, list[Mark]] = {index: [] for index in wanted}
    for line in lines:
        words = line.split(" ", 5)
        if words[1].startswith("run_") or len(words) < 5 or int(words[2]) not in found:
            continue
        offset, kind, index, attempt, pod = words[:5]
        mark = Mark(created_at_ms + int(offset), kind, None if attempt == "-" else int(attempt), None if pod == "-" else pod)
        found[int(index)].append(mark)
    return found


def marks_of_record(head: Head, created_at_ms: int) -> list[Mark]:
    """The same from a record and the log of attempts. What records do not keep is missing: claims that were given back uncharged."""
    found: list[Mark] = []

    def add(time: int | None, kind: str, attempt: int | None = None, pod: str | None = None) -> None:
        if time is not None:
            found.append(Mark(created_at_ms + time, kind, attempt, pod))

    for entry in head.log:
        number, ended_as, started, ended, pod, *ready = entry.split(" ")
        # Attempts that an older version logged do not say since when they were ready.
        add(_time(ready[0]) if ready else None, "ready")
        add(_time(started), "started", int(number), pod)
        add(_time(ended), "retry" if ended_as == "failed" else "lost", int(number), pod)
    waits = head.state is TaskState.WAITING
    logged = bool(head.log) and head.log[-1].startswith(f"{head.attempt} ")
    if not (waits and logged):
        add(head.ready, "ready")
        add(head.started, "started", head.attempt, head.pod)
    if waits and head.word == "sleep":
        # Since when it sleeps is not kept; its attempt took next to no time.
        add(head.started, "sleep", head.attempt, head.pod)
    elif head.state.terminal:
        add(head.ended, head.state.value, head.attempt, head.pod)
    return found


def _time(word: str) -> int | None:
    return None if word == "-" else int(word)
