"""`runs`, `status`, `events`, `cancel`, `tasks`, `pods`: what the API knows, as tables."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.text import Text

from engine.states import RunState, TaskState
from peerflow.cli.errors import NOT_SUCCEEDED, SUCCESS
from peerflow.cli.follow import follow
from peerflow.cli.options import DEFAULT_URL, Json, RunId, Url, connect
from peerflow.cli.output import cell, clean, duration, instant, plural, print_json, state_text, stderr, stdout, table
from peerflow.cli.summary import print_run, print_tasks

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")]
Name = Annotated[str | None, typer.Option("--name", help="Only runs with this name.")]
Label = Annotated[str | None, typer.Option("--label", metavar="KEY=VALUE", help="Only runs with this label.")]
OfTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's; for keys that see all tenants.")]
OfRuns = Annotated[RunState | None, typer.Option("--status", help="Only runs in this state.")]
OfTasks = Annotated[TaskState | None, typer.Option("--tasks", metavar="STATE", help="Only tasks in this state.")]
Wait = Annotated[bool, typer.Option("--wait", metavar="", help="Show the run's progress to its end; exit 0 only if it succeeded.")]
After = Annotated[int, typer.Option("--after", min=0, metavar="SEQ", help="Only events after this number.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Kept with the run.")]


def runs(
    status: OfRuns = None,
    name: Name = None,
    label: Label = None,
    tenant: OfTenant = None,
    limit: Limit = 20,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List runs, newest first."""
    with connect(url) as client:
        found = list(islice(client.runs(status=status, name=name, label=label, tenant=tenant), limit + 1))
    shown, more = found[:limit], len(found) > limit
    if json:
        print_json([run.model_dump(mode="json") for run in shown])
        return
    rows = table("run", "name", "status", "done", "created", "took", right=("done", "took"), long=("name",))
    for run in shown:
        done = f"{run.done:,}/{run.total:,}"
        rows.add_row(run.run_id, cell(run.name, 40), state_text(run.status), done, instant(run.created_at), duration(run.duration_seconds))
    stdout().print(rows if shown else "no runs")
    if more:
        stderr().print(f"more runs exist than {limit}: --limit shows more")


def status(run: RunId, wait: Wait = False, tasks: OfTasks = None, limit: Limit = 50, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show a run and its tasks."""
    with connect(url) as client:
        if wait:
            finished = follow(client, run, as_json=json)
            raise typer.Exit(SUCCESS if finished.succeeded else NOT_SUCCEEDED)
        if json:
            print_json(client.status(run).model_dump(mode="json"))
            return
        found = client.run(run)
        listed = list(islice(client.tasks(run, status=tasks), limit))
    console = stdout()
    print_run(console, found)
    print_tasks(console, listed)
    expected = found.total if tasks is None else found.counts.get(tasks, 0)
    if expected > len(listed):
        stderr().print(f"{len(listed):,} of {plural(expected, 'task')}: --limit shows more, --tasks STATE filters")


def events(run: RunId, after: After = 0, limit: Limit = 1000, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show what happened to a run, oldest first."""
    with connect(url) as client:
        found = list(islice(client.events(run, after=after), limit + 1))
    shown = found[:limit]
    if json:
        print_json([event.model_dump(mode="json") for event in shown])
        return
    rows = table("seq", "at", "event", "task", "attempt", "pod", "detail", right=("seq", "attempt"), long=("task", "detail"))
    for event in shown:
        at = event.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
        where = (cell(event.task, 60), cell(event.attempt), cell(event.pod, 20))
        said = f"by {event.caller}" + (f": {event.detail}" if event.detail else "") if event.caller else event.detail
        rows.add_row(str(event.seq), at, cell(event.type), *where, cell(said, 200))
    stdout().print(rows if shown else "no events")
    if len(found) > limit:
        stderr().print(f"more events follow: --after {shown[-1].seq}")


def cancel(run: RunId, reason: Reason = None, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Cancel a run: what has not started never will, what runs is asked to stop."""
    with connect(url) as client:
        answer = client.cancel(run, reason=reason)
    if json:
        print_json(answer.model_dump(mode="json"))
    else:
        stdout().print(Text.assemble("run ", (clean(answer.run_id), "bold"), " ", state_text(answer.status)))


def tasks(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the task functions that living pods have registered."""
    with connect(url) as client:
        functions = client.functions()
    if json:
        print_json([function.model_dump(mode="json") for function in functions])
        return
    rows = table("function", "runs as", "pods", "arguments", "description", right=("pods",), long=("arguments", "description"))
    for function in functions:
        properties = function.parameters.get("properties")
        arguments = ", ".join(properties) if isinstance(properties, dict) else ""
        rows.add_row(
            cell(function.name),
            cell(function.kind),
            cell(function.pods),
            cell(arguments, 60),
            cell(function.description.partition("\n")[0], 80),
        )
    stdout().print(rows if functions else "no functions")


def pods(json: Json = False, url: Url = DEFAULT_URL) -> None:
    """List the pods: who lives, and how much each runs."""
    with connect(url) as client:
        found = client.pods()
    if json:
        print_json([pod.model_dump(mode="json") for pod in found])
        return
    columns = ("pod", "host", "state", "running", "queues", "functions", "up", "last seen", "version")
    rows = table(*columns, right=("running", "functions", "up"), long=("host", "queues"))
    styles = {"alive": "green", "draining": "yellow", "lost": "red"}
    for pod in found:
        state = cell(pod.state, style=styles.get(pod.state, ""))
        up = (pod.last_seen_at - pod.started_at).total_seconds() if pod.last_seen_at and pod.started_at else None
        times = (duration(up), instant(pod.last_seen_at)[11:])
        what = (f"{pod.running:,}/{pod.concurrency:,}", cell(",".join(pod.queues), 40), str(len(pod.functions)))
        rows.add_row(cell(pod.pod_id), cell(pod.host, 40), state, *what, *times, cell(pod.version))
    stdout().print(rows if found else "no pods")
