"""Puts together what `explain` says of a task, from what has been read. The one thing that it still asks for is a task's ancestors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.explain import Interval, Mark, Note, intervals, now_is, summary, totals, with_notes
from engine.graph import Graph
from engine.reasons import Reason
from engine.states import TaskState
from storage.ancestors import Ancestors, Chain
from storage.capacity import find_reason
from storage.explained import Link, ReasonNow, TaskExplanation
from storage.marks import Head
from storage.views import PodView, RunView

INTERVALS = 50
EVERYWHERE = "*"
"""The name under which notes for all lanes are kept."""
REFUSED_MS = 5_000
"""How long a note that the server takes no claims holds without another."""


class Explaining:
    """What one answer knows: the run, pods, notes by lane, and the heads of tasks."""

    def __init__(
        self, run: RunView, graph: Graph, now_ms: int, pods: Sequence[PodView], notes: dict[str, list[Note]], ancestors: Ancestors
    ) -> None:
        self._run, self._graph, self._now_ms, self._pods = run, graph, now_ms, pods
        self._notes, self._ancestors = notes, ancestors

    async def explanation(self, index: int, marks: Sequence[Mark]) -> TaskExplanation:
        run, task, head = self._run, self._graph.tasks[index], self._ancestors.heads[index]
        ended = run.state.terminal
        parts = intervals(run.created_at_ms, marks, run.finished_at_ms if ended else None)
        parts = with_notes(parts, self._notes.get(f"{task.queue}/{task.function}", []), self._notes[EVERYWHERE], now_ms=self._now_ms)
        state = TaskState.CANCELLED if ended and not head.state.terminal else head.state
        now = await self._now(index, head, state, parts)
        parts = now_is(parts, now.reason)
        if parts and parts[-1].to_ms is None:
            now = replace(now, since_ms=parts[-1].from_ms)
        chain = await self._ancestors.chain(index) if now.reason is Reason.PARENTS else Chain()
        sums = totals(parts, self._now_ms)
        return TaskExplanation(
            index=index,
            id=task.id,
            function=task.function,
            queue=task.queue,
            state=state,
            now=now,
            chain=tuple(self._link(passed) for passed in chain.shown),
            chain_length=chain.length,
            intervals=tuple(parts[-INTERVALS:]),
            left_out=max(0, len(parts) - INTERVALS),
            waited_ms=sums,
            summary=summary(sums, task.function, task.queue),
        )

    async def _now(self, index: int, head: Head, state: TaskState, parts: Sequence[Interval]) -> ReasonNow:
        if state.terminal:
            since = parts[-1].to_ms if parts and parts[-1].to_ms is not None else self._run.created_at_ms
            return ReasonNow(Reason.ENDED, f"has ended: {state.value}", since)
        reason, text = self._reason(index, head)
        since = parts[-1].from_ms if parts else self._run.created_at_ms
        match reason:
            case Reason.PARENTS:
                parents, count = await self._ancestors.open_parents(index)
                names = tuple(self._graph.tasks[parent].id for parent in parents)
                return ReasonNow(reason, _parents_text(names, count), since, parents=names, open_parents=count)
            case Reason.RUNNING:
                return ReasonNow(reason, text, since, pod=head.pod, attempt=head.attempt)
            case Reason.RETRY_AT | Reason.SLEEPS_UNTIL:
                until = None if head.ended is None else self._run.created_at_ms + head.ended
                return ReasonNow(reason, text, since, until_ms=until, attempt=head.attempt)
            case _:
                task = self._graph.tasks[index]
                return ReasonNow(reason, text, since, pods=find_reason(task.function, task.queue, self._pods).pods)

    def _reason(self, index: int, head: Head) -> tuple[Reason, str]:
        """Of a task that has not ended, from its record and what is known of pods."""
        match head.state:
            case TaskState.PENDING:
                return Reason.PARENTS, "waits for its parents"
            case TaskState.RUNNING:
                return Reason.RUNNING, f"attempt {head.attempt} runs on {head.pod}"
            case TaskState.WAITING:
                sleeps = head.word == "sleep"
                return (Reason.SLEEPS_UNTIL, "sleeps") if sleeps else (Reason.RETRY_AT, "waits for its next attempt")
            case TaskState.READY:
                task = self._graph.tasks[index]
                found = find_reason(task.function, task.queue, self._pods)
                if found.reason is Reason.QUEUED and self._refused():
                    return Reason.REFUSED, "Redis refuses claims: it is full"
                return found.reason, found.text
            case _:
                return Reason.ENDED, f"has ended: {head.state.value}"

    def _refused(self) -> bool:
        """True where pods have noted within the last seconds that the server takes no claims."""
        last = self._notes[EVERYWHERE][-1:]
        return bool(last) and last[0].reason is Reason.REFUSED and self._now_ms - last[0].to_ms < REFUSED_MS

    def _link(self, index: int) -> Link:
        task, head = self._graph.tasks[index], self._ancestors.heads.get(index, Head(TaskState.PENDING))
        return Link(task.id, head.state, *self._reason(index, head))


def _parents_text(names: Sequence[str], count: int) -> str:
    if not count:
        return "all that it depends on has ended; that is being passed on"
    shown = ", ".join(names)
    more = f" and {count - len(names)} more" if 0 < len(names) < count else ""
    return f"waits for {count} {'task' if count == 1 else 'tasks'}" + (f": {shown}{more}" if names else "")
