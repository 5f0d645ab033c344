"""Runs a recorded scientific workflow: converts a WfFormat 1.5 file (https://wfcommons.org/format) and posts it.

    peerflow serve --tasks examples.wfformat_tasks
    python examples/wfformat.py montage.json --scale 0.001

Every recorded task becomes a call of `simulate`, which takes its recorded time, scaled. `--print` writes the definition instead, for
`peerflow submit -`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import cast

from pydantic import JsonValue

from engine.errors import PeerflowError
from engine.limits import ID_CHARS
from peerflow import Client
from peerflow.client import DEFAULT_URL

SCHEMA = "1.5"
NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_.-]")
Json = dict[str, JsonValue]


class NotWfFormat(ValueError):
    """The document is not WfFormat 1.5; the text names the place."""


def convert(document: JsonValue, *, scale: float = 1.0, function: str = "simulate") -> Json:
    """A peerflow definition with the same tasks and dependencies; seconds are the recorded ones times `scale`.

    Ids are kept; characters that peerflow does not allow in them become `_`. Raises NotWfFormat.
    """
    root = _object(document, "the document")
    if root.get("schemaVersion") != SCHEMA:
        raise NotWfFormat(f"schemaVersion is {root.get('schemaVersion')!r}; this converter reads {SCHEMA}")
    workflow = _object(root.get("workflow"), "workflow")
    recorded = [_object(task, "a task") for task in _list(_object(workflow.get("specification"), "workflow.specification"), "tasks")]
    runtimes = _runtimes(_object(workflow.get("execution", {}), "workflow.execution"))
    ids = _unique_ids([_text(task, "id") for task in recorded])
    tasks: Json = {}
    for task in recorded:
        name = _text(task, "id")
        args: Json = {"seconds": round(runtimes.get(name, 0.0) * scale, 6), "program": _text(task, "name")}
        converted: Json = {"task": function, "args": args}
        parents = [_text({"id": parent}, "id") for parent in _list(task, "parents")]
        if unknown := [parent for parent in parents if parent not in ids]:
            raise NotWfFormat(f"task {name!r} has the parent {unknown[0]!r}, which is no task")
        if parents:
            converted["depends_on"] = [ids[parent] for parent in parents]
        tasks[ids[name]] = converted
    title = root.get("name")
    return {"name": NOT_IN_IDS.sub("_", title)[:ID_CHARS] if isinstance(title, str) and title else "wfformat", "tasks": tasks}


def _runtimes(execution: Json) -> dict[str, float]:
    """Task id → recorded seconds; tasks that were not recorded take none."""
    found: dict[str, float] = {}
    for item in _list(execution, "tasks"):
        task = _object(item, "an executed task")
        seconds = task.get("runtimeInSeconds", 0)
        if isinstance(seconds, int | float):
            found[_text(task, "id")] = float(seconds)
    return found


def _unique_ids(names: list[str]) -> dict[str, str]:
    """Recorded id → peerflow id, one to one."""
    taken: set[str] = set()
    ids: dict[str, str] = {}
    for name in names:
        if name in ids:
            raise NotWfFormat(f"two tasks have the id {name!r}")
        base = NOT_IN_IDS.sub("_", name)
        unique, number = base[:ID_CHARS], 1
        while unique in taken:
            number += 1
            suffix = f"_{number}"
            unique = base[: ID_CHARS - len(suffix)] + suffix
        taken.add(unique)
        ids[name] = unique
    return ids


def _object(value: JsonValue, place: str) -> Json:
    if not isinstance(value, dict):
        raise NotWfFormat(f"{place} is not an object")
    return value


def _list(value: Json, field: str) -> list[JsonValue]:
    found = value.get(field, [])
    if not isinstance(found, list):
        raise NotWfFormat(f"{field} is not a list")
    return found


def _text(value: Json, field: str) -> str:
    found = value.get(field)
    if not isinstance(found, str) or not found:
        raise NotWfFormat(f"{field} is missing or not a text in {json.dumps(value)[:80]}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a recorded workflow (WfFormat 1.5) on peerflow.")
    parser.add_argument("file", type=Path)
    url = os.environ.get("PEERFLOW_URL", DEFAULT_URL)
    parser.add_argument("--url", default=url, help="address of a pod, or several with commas (default: PEERFLOW_URL or %(default)s)")
    parser.add_argument("--scale", type=float, default=0.001, help="factor for the recorded times (default: %(default)s)")
    parser.add_argument("--function", default="simulate", help="task function that stands for every program (default: %(default)s)")
    parser.add_argument("--print", action="store_true", help="write the definition to standard output, post nothing")
    parser.add_argument("--no-wait", action="store_true", help="post it and return at once")
    options = parser.parse_args()
    try:
        definition = convert(json.loads(options.file.read_bytes()), scale=options.scale, function=options.function)
        if options.print:
            json.dump(definition, sys.stdout)
            return 0
        return _post(definition, options.url, wait=not options.no_wait)
    except (OSError, ValueError, PeerflowError) as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1


def _post(definition: Json, url: str, *, wait: bool) -> int:
    tasks = cast(Json, definition["tasks"])
    with Client(url) as client:
        submitted = client.submit(definition)
        print(f"{definition['name']}: {len(tasks):,} tasks, run {submitted.run_id}")
        if not wait:
            return 0
        run = client.wait(submitted.run_id)
    print(f"{run.status} after {run.duration_seconds or 0:.2f} s")
    return 0 if run.succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
