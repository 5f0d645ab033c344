"""`explain`: why tasks do not run, now and before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from engine.states import TaskState
from peerflow.answers import Explanation, Interval, Run, TaskExplanation
from peerflow.cli.options import DEFAULT_URL, Json, RunId, Url, connect
from peerflow.cli.output import cell, clean, duration, instant, plural, print_json, state_text, stderr, stdout, table
from peerflow.cli.summary import print_run
from peerflow.client import Client

OneTask = Annotated[str | None, typer.Option("--task", metavar="ID", help="Explain one task, with its whole history.")]
All = Annotated[bool, typer.Option("--all", metavar="", help="Tasks that have ended too.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many tasks at most.")]

PAGE = 500
CODE_STYLES = {
    "parents": "dim",
    "retry_at": "yellow",
    "sleeps_until": "yellow",
    "no_capable_pod": "red",
    "pod_capacity": "yellow",
    "storage": "red",
    "refused": "red",
    "queued": "blue",
    "running": "cyan",
}
LONGEST_BAR, NARROW_BAR = 24, 10
NARROW = 100
"""Columns below which a bar is short, so that the pod's name has room beside it."""


def explain(run: RunId, task: OneTask = None, every: All = False, limit: Limit = 50, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Say why tasks do not run, now and before."""
    console = stdout()
    with connect(url) as client:
        if task is not None:
            found = client.explain(run, task=task)
            if json:
                print_json(found.model_dump(mode="json", by_alias=True))
            else:
                print_task(console, found, found.tasks[0])
            return
        found = collect(client, run, limit, unended=not every)
        if not found.tasks and not every:
            found = collect(client, run, limit, unended=False)
        if json:
            print_json(found.model_dump(mode="json", by_alias=True))
            return
        whole = client.run(run)
    print_run(console, whole)
    print_causes(console, found.tasks)
    print_page(console, found)
    if found.next_after is not None:
        stderr().print(f"more tasks follow: --limit shows more than {limit}")
    elif len(found.tasks) < whole.total:
        stderr().print(_ended_hint(whole, len(found.tasks)))


def collect(client: Client, run_id: str, limit: int, *, unended: bool) -> Explanation:
    """Up to `limit` tasks, from as many pages as it takes."""
    page = client.explain(run_id, unended=unended, limit=min(limit, PAGE))
    tasks = list(page.tasks)
    while page.next_after is not None and len(tasks) < limit:
        page = client.explain(run_id, unended=unended, after=page.next_after, limit=min(limit - len(tasks), PAGE))
        tasks += page.tasks
    return page.model_copy(update={"tasks": tasks})


def print_causes(console: Console, tasks: Sequence[TaskExplanation]) -> None:
    """What really holds the run up: each cause once, with the tasks that it stands before."""
    behind: dict[tuple[str, str, str], int] = {}
    for task in tasks:
        if task.chain:
            root = task.chain[-1]
            key = (root.id, root.code, root.text)
            behind[key] = behind.get(key, 0) + 1
    for (root_id, code, text), count in sorted(behind.items(), key=lambda entry: -entry[1])[:5]:
        style = CODE_STYLES.get(code, "")
        waits = "waits" if count == 1 else "wait"
        console.print(
            Text.assemble("  ", f"{plural(count, 'task')} {waits} for ", (clean(root_id, 60), "bold"), ": ", (clean(text, 200), style))
        )


def print_page(console: Console, found: Explanation) -> None:
    """A row for each task: since when its reason holds, the reason, and below it what the task has waited for before."""
    if not found.tasks:
        return
    rows = table("task", "status", "for", "why", right=("for",), long=("task", "why"))
    rows.columns[-1].overflow = "fold"
    for task in found.tasks:
        length = "" if task.status.terminal else duration(max(0.0, (found.at - task.now.since).total_seconds()))
        rows.add_row(cell(task.id, 40), state_text(task.status), length, why(task, found.at))
    console.print(rows)


def why(task: TaskExplanation, at: datetime) -> Text:
    """The reason, what it leads back to, and on a line of its own what the task has waited for, where that says more."""
    if task.status.terminal:
        return Text(clean(task.summary), style="dim")
    text = Text(reason_line(task, at), style=CODE_STYLES.get(task.now.code, ""))
    if task.chain and task.chain[-1].id not in task.now.parents:
        root = task.chain[-1]
        # The root's own reason stands above the table, once.
        text.append(f"\n{_way(task)} ({clean(root.code)})", style=CODE_STYLES.get(root.code, ""))
    if len(task.waited_seconds) > 1 or (task.waited_seconds and task.now.code == "running"):
        text.append(f"\n{clean(task.summary)}", style="dim")
    return text


def reason_line(task: TaskExplanation, at: datetime) -> str:
    until = task.now.until
    if until is None:
        return clean(task.now.text)
    return f"{clean(task.now.text)}, goes on in {duration(max(0.0, (until - at).total_seconds()))}"


def _way(task: TaskExplanation) -> str:
    """`← b ← a`, the middle of a long way left out."""
    names = [clean(link.id, 30) for link in task.chain]
    if task.chain_length > len(names):
        half = len(names) // 2
        names[half:half] = [f"… {task.chain_length - len(names):,} more …"]
    return "← " + " ← ".join(names)


def print_task(console: Console, found: Explanation, task: TaskExplanation) -> None:
    """Everything about one task."""
    function = "" if task.task == task.id else f" ({clean(task.task, 60)})"
    queue = "" if task.queue == "default" else f" in queue {clean(task.queue, 60)}"
    console.print(Text.assemble("task ", (clean(task.id), "bold"), function, queue, " ", state_text(task.status)))
    since = f", since {instant(task.now.since)} ({duration(max(0.0, (found.at - task.now.since).total_seconds()))})"
    console.print(Text.assemble("  ", (reason_line(task, found.at) + since, CODE_STYLES.get(task.now.code, ""))))
    for pod in task.now.pods:
        seen = f", last seen {instant(pod.last_seen_at)}" if pod.last_seen_at and pod.state != "alive" else ""
        console.print(Text(f"  pod {clean(pod.pod_id)} {clean(pod.state)}, {pod.running:,}/{pod.concurrency:,} running{seen}"))
    if task.chain:
        console.print(Text("  held up by:"))
        half = len(task.chain) // 2
        for number, link in enumerate(task.chain):
            if number == half and task.chain_length > len(task.chain):
                console.print(Text(f"    ← … {task.chain_length - len(task.chain):,} more …", style="dim"))
            style = CODE_STYLES.get(link.code, "")
            console.print(
                Text.assemble("    ← ", (clean(link.id, 60), "bold"), " ", state_text(link.status), ": ", (clean(link.text, 200), style))
            )
    console.print(Text(f"  {clean(task.summary)}", style="bold"))
    print_intervals(console, task.intervals, task.intervals_left_out)


def print_intervals(console: Console, parts: Sequence[Interval], left_out: int) -> None:
    """One row for each stretch, with a bar as long as its share."""
    if not parts:
        return
    rows = table("from", "took", "", "reason", "attempt", "pod", right=("took", "attempt"), long=("pod",))
    longest = max(part.seconds for part in parts) or 1.0
    cells = LONGEST_BAR if console.width >= NARROW else NARROW_BAR
    mark = "━" if console.encoding.startswith("utf") else "#"
    for part in parts:
        style = CODE_STYLES.get(part.code, "")
        bar = Text(mark * max(1, round(cells * part.seconds / longest)), style=style)
        took = duration(part.seconds) + (" …" if part.to is None else "  ")
        rows.add_row(
            part.from_.astimezone().strftime("%H:%M:%S.%f")[:-3],
            took,
            bar,
            Text(clean(part.code), style=style),
            cell(part.attempt),
            cell(part.pod, 40),
        )
    if left_out:
        console.print(Text(f"  {plural(left_out, 'earlier interval')} left out", style="dim"))
    console.print(rows)


def _ended_hint(run: Run, shown: int) -> str:
    ended = sum(run.counts.get(state, 0) for state in TaskState if state.terminal)
    return f"{plural(min(ended, run.total - shown), 'task')} that ended: --all shows them"
