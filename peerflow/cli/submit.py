"""`submit` and `validate`: a definition in a file goes to a pod."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.text import Text

from engine.compile import compile_definition
from engine.definition import parse_definition
from engine.errors import DefinitionError
from engine.limits import Limits
from engine.strict_json import parse
from peerflow.answers import Plan
from peerflow.cli.errors import NOT_SUCCEEDED, SUCCESS
from peerflow.cli.files import Document, read_document
from peerflow.cli.follow import follow
from peerflow.cli.options import DEFAULT_URL, File, Json, Url, connect
from peerflow.cli.output import cell, plural, print_json, stdout
from peerflow.client import ApiError, Client, Submitted

ABOUT_THE_FILE = frozenset({"body-empty", "body-too-large", "definition-invalid", "json-invalid"})
"""Last words of the problem types (RFC 9457) that speak of the posted document."""

Watch = Annotated[bool, typer.Option("--watch", "-w", metavar="", help="Show the run's progress to its end; exit 0 only if it succeeded.")]
Key = Annotated[str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key again answers with the run that has it.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", metavar="", help="Only compile the definition: tasks, order, critical path. Nothing is stored.")
]
Offline = Annotated[
    bool, typer.Option("--offline", metavar="", help="Check here, without a pod; whether the functions are registered stays open.")
]


def submit(
    file: File,
    watch: Watch = False,
    idempotency_key: Key = None,
    dry_run: DryRun = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Start a run of the definition in FILE."""
    document = read_document(file)
    with connect(url) as client:
        if dry_run:
            _print_plan(document, _ask_plan(client, document), as_json=json)
            return
        submitted = _submit(client, document, idempotency_key)
        if watch:
            if not json:
                stdout().print(Text.assemble("run ", (submitted.run_id, "bold")))
            run = follow(client, submitted.run_id, as_json=json)
            raise typer.Exit(SUCCESS if run.succeeded else NOT_SUCCEEDED)
        if json:
            print_json(submitted.model_dump(mode="json"))
        else:
            _print_submitted(submitted, url)


def validate(file: File, offline: Offline = False, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Check the definition in FILE by a pod's own rules, without storing anything."""
    document = read_document(file)
    if offline:
        plan = _compile_here(document)
    else:
        with connect(url) as client:
            plan = _ask_plan(client, document)
    if json:
        print_json({"valid": True, **plan.model_dump(mode="json")})
    else:
        stdout().print(cell(f"{document.name}: valid, {plural(plan.tasks, 'task')}, {_dependencies(plan.edges)}"))


def _submit(client: Client, document: Document, idempotency_key: str | None) -> Submitted:
    try:
        return client.submit(document.body, idempotency_key=idempotency_key)
    except ApiError as error:
        raise _with_lines(document, error) from None


def _ask_plan(client: Client, document: Document) -> Plan:
    try:
        return client.plan(document.body)
    except ApiError as error:
        raise _with_lines(document, error) from None


def _with_lines(document: Document, error: ApiError) -> Exception:
    """The refusal with the lines of the file, where it is about what the file says."""
    about_the_file = error.problems and error.type.rpartition(":")[2] in ABOUT_THE_FILE
    return document.refused("the definition is refused", error.problems) if about_the_file else error


def _compile_here(document: Document) -> Plan:
    limits = Limits()
    try:
        graph = compile_definition(parse_definition(parse(document.body, depth=limits.depth), limits), functions=None, limits=limits)
    except DefinitionError as error:
        raise document.refused("the definition is refused", error.problems) from None
    return Plan(tasks=len(graph.tasks), edges=graph.edge_count, order=graph.order(), critical_path=graph.critical_path())


def _print_submitted(submitted: Submitted, url: str) -> None:
    console = stdout()
    option = "" if url == os.environ.get("PEERFLOW_URL", DEFAULT_URL) else f" --url {url}"
    console.print(Text.assemble("run ", (submitted.run_id, "bold"), f" {submitted.status} (durability: {submitted.durability})"))
    console.print(Text(f"peerflow status {submitted.run_id} --wait{option}", style="dim"))


def _print_plan(document: Document, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json(plan.model_dump(mode="json"))
        return
    console = stdout()
    console.print(cell(f"{document.name}: {plural(plan.tasks, 'task')}, {_dependencies(plan.edges)}"))
    console.print(cell(f"order: {_shortened(plan.order, ' ')}"))
    console.print(cell(f"critical path ({len(plan.critical_path):,}): {_shortened(plan.critical_path, ' → ')}"))


def _dependencies(edges: int) -> str:
    return "1 dependency" if edges == 1 else f"{edges:,} dependencies"


def _shortened(ids: list[str], separator: str) -> str:
    """Up to 20 ids, both ends of a longer list."""
    return separator.join(ids if len(ids) <= 20 else [*ids[:15], f"… {len(ids) - 19:,} more …", *ids[-4:]])
