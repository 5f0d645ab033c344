"""What the terminal gets: text without foreign control characters, durations and instants for people, JSON for programs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from pydantic import JsonValue
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.states import RunState, TaskState

STYLES: Mapping[str, str] = {
    "pending": "dim",
    "ready": "blue",
    "scheduled": "blue",
    "running": "cyan",
    "waiting": "yellow",
    "paused": "yellow",
    "succeeded": "green",
    "failed": "red",
    "skipped": "magenta",
    "cancelled": "magenta",
}
# C0, DEL and C1: a name or an error text from a run must not move the cursor, change colours or set the window's title.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


# Nothing is cut for a file or a pipe: whoever reads it may want every character.
UNBOUNDED_WIDTH = 4000


def stdout() -> Console:
    """A console for results; made anew each time, because the stream may have been replaced."""
    console = Console(file=sys.stdout, highlight=False, soft_wrap=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = UNBOUNDED_WIDTH
    return console


def stderr() -> Console:
    """A console for what is not the result: errors and hints."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def own_version() -> str:
    """The installed package's; the package itself would tell, and bring the scheduler along."""
    try:
        return version("peerflow")
    except PackageNotFoundError:
        return "(not installed)"


def clean(text: str, limit: int | None = None) -> str:
    """The text on one line: control characters are shown, not obeyed; cut to `limit` characters."""
    line = CONTROL.sub(lambda match: "⏎" if match[0] == "\n" else match[0].encode("unicode_escape").decode(), text)
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def cell(value: object, limit: int | None = None, style: str = "") -> Text:
    """A table cell; rich's own markup in the text is not obeyed either."""
    return Text("" if value is None else clean(str(value), limit), style=style, no_wrap=True, overflow="ellipsis")


def state_text(state: RunState | TaskState | str) -> Text:
    return Text(str(state), style=STYLES.get(str(state), ""))


def compact_json(value: JsonValue, limit: int | None = None) -> str:
    return clean(json.dumps(value, ensure_ascii=False), limit)


def print_json(value: JsonValue) -> None:
    """One JSON document on standard output, indented."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def duration(seconds: float | None) -> str:
    """`40 ms`, `1.25 s`, `12.3 s`, `2 min 05 s`, `3 h 12 min`, `2 d 04 h`."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600:02} h"


def instant(at: datetime | None) -> str:
    """Local time to the second; `--json` has the exact instant."""
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def table(*columns: str, right: tuple[str, ...] = (), long: tuple[str, ...] = ()) -> Table:
    """A table without vertical lines; where the terminal is too narrow, the `long` columns are cut first, and nothing is wrapped.

    Cells of long columns are made by `cell`.
    """
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=column not in long, overflow="ellipsis")
    return made
