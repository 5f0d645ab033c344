"""`logs`: what a run's tasks have printed and logged, to the end of the run where wanted."""

from __future__ import annotations

import json as json_text
import re
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from peerflow.answers import LogLine, Run
from peerflow.cli.errors import NOT_SUCCEEDED, SUCCESS
from peerflow.cli.follow import PATIENCE_SECONDS
from peerflow.cli.options import DEFAULT_URL, RunId, Url, connect
from peerflow.cli.output import clean, plural, print_json, stderr, stdout
from peerflow.client import Client

Task = Annotated[str | None, typer.Argument(metavar="TASK", help="Only this task.")]
Attempt = Annotated[int | None, typer.Option("--attempt", min=1, metavar="N", help="Only this attempt of the task.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", metavar="", help="Go on to the end of the run; exit 0 only if it succeeded.")]
Raw = Annotated[bool, typer.Option("--raw", metavar="", help="Leave colours and other control characters of the tasks as they are.")]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document; with --follow one JSON object a line.")]

PAUSE_SECONDS = 0.5
LATE_SECONDS = 2.0
"""Lines of the last attempt may come after the run has ended."""
LONG_AGO_SECONDS = 30.0
"""A run that ended before that has told everything, whatever this machine's clock says."""
# Sequences that colour text or move the cursor (ECMA-48), and those that set a terminal's title.
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
COLOURS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red", "debug": "dim"}
LONGEST_NAME = 24


def logs(
    run: RunId,
    task: Task = None,
    attempt: Attempt = None,
    follow: Follow = False,
    raw: Raw = False,
    json: Json = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Show what a run's tasks have printed and logged."""
    if attempt is not None and task is None:
        raise typer.BadParameter("one of which task? Give TASK as well", param_hint="--attempt")
    with connect(url) as client:
        reader = Reader(client, run, task, attempt)
        if json and not follow:
            lines: list[JsonValue] = [line.model_dump(mode="json") for line in reader.present()]
            print_json({"run_id": run, "lines": lines, "dropped": reader.dropped})
            return
        printer = JsonLines() if json else Printer(stdout(), raw=raw)
        if follow:
            finished = reader.follow(printer.show)
            raise typer.Exit(SUCCESS if finished.succeeded else NOT_SUCCEEDED)
        for line in reader.present():
            printer.show(line)
    if reader.dropped:
        stderr().print(f"{plural(reader.dropped, 'line')} not kept: an attempt and a run keep the newest")


class Reader:
    """Reads a run's log page by page, and outlives the pods that it asks."""

    def __init__(self, client: Client, run_id: str, task: str | None, attempt: int | None) -> None:
        self._client, self._run_id, self._task, self._attempt = client, run_id, task, attempt
        self._after: str | None = None
        self.dropped = 0
        """Lines that are not kept, when it was last asked."""

    def present(self) -> Iterator[LogLine]:
        """What has come since the last call."""
        while True:
            page = self._client.log_page(self._run_id, task=self._task, attempt=self._attempt, after=self._after)
            self._after, self.dropped = page.last, page.dropped
            yield from page.lines
            if page.next_after is None:
                return

    def follow(
        self, show: Callable[[LogLine], None], *, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> Run:
        """Shows lines until the run has ended and all of them are there. Answers the run."""
        ended: float | None = None
        self._client.run(self._run_id)
        self._client.connection.patience_seconds = PATIENCE_SECONDS
        while True:
            run = self._client.run(self._run_id)
            some = False
            for line in self.present():
                show(line)
                some = True
            if run.finished and (ended is None or some):
                ended = clock()
            if run.finished and not some and (_long_ago(run) or (ended is not None and clock() - ended >= LATE_SECONDS)):
                return run
            sleep(PAUSE_SECONDS)


class Printer:
    """Lines for people: the instant, whose they are, and the text; in colours where the console has them."""

    def __init__(self, console: Console, *, raw: bool = False) -> None:
        self._console, self._raw = console, raw
        self._width = 0
        self._colours: dict[str, str] = {}

    def show(self, line: LogLine) -> None:
        name = clean(line.task) + (f"#{line.attempt}" if line.attempt > 1 else "")
        self._width = max(self._width, min(len(name), LONGEST_NAME))
        colour = self._colours.setdefault(line.task, COLOURS[len(self._colours) % len(COLOURS)])
        clock = f"{line.at.astimezone():%H:%M:%S.%f}"[:-3]
        head = Text.assemble((clock, "dim"), " ", (name.ljust(self._width), colour), (" │ ", "dim"))
        level = f"{clean(line.level):<7} " if line.stream == "log" and line.level is not None else ""
        for part in line.text.split("\n"):
            begin = Text.assemble(head, (level, LEVELS.get(line.level or "", "")))
            if self._raw:
                self._console.print(begin, end="", soft_wrap=True)
                self._console.file.write(part + "\n")
            else:
                text = clean(ANSI.sub("", part).replace("\t", "    "))
                self._console.print(Text.assemble(begin, (text, _style(line))), soft_wrap=True)
            # Said once: what follows belongs to the same record.
            level = " " * len(level)


class JsonLines:
    """One JSON object a line, as they come."""

    def show(self, line: LogLine) -> None:
        sys.stdout.write(json_text.dumps(line.model_dump(mode="json"), ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _long_ago(run: Run) -> bool:
    return run.finished_at is not None and (datetime.now(UTC) - run.finished_at).total_seconds() > LONG_AGO_SECONDS


def _style(line: LogLine) -> str:
    if line.stream == "peerflow":
        return "yellow italic"
    if line.stream == "stderr":
        return "red"
    return LEVELS.get(line.level or "", "")
