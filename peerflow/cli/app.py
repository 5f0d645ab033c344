"""All commands in one place, and the one place where errors become text and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated

import typer

from engine.errors import PeerflowError
from peerflow.cli import access, doctor, explain, keys, logs, queries, redis_acl, serve, submit
from peerflow.cli.errors import INTERRUPTED, SUCCESS, report
from peerflow.cli.output import own_version, stderr

EPILOG = "Exit status: 0 done (a watched run: succeeded) · 1 the run did not succeed · 2 refused · 3 no pod answers · 130 interrupted."

app = typer.Typer(
    name="peerflow",
    help="Workflows on identical pods, with Redis or Valkey as the only infrastructure.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.command()(serve.serve)
app.command()(submit.submit)
app.command()(submit.validate)
app.command()(queries.runs)
app.command()(queries.status)
app.command()(queries.events)
app.command()(logs.logs)
app.command()(explain.explain)
app.command()(queries.cancel)
app.command()(queries.tasks)
app.command()(queries.pods)
app.command()(access.access)
app.command()(doctor.doctor)
app.add_typer(keys.app, name="keys")
app.command()(redis_acl.redis_acl)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"peerflow {own_version()}\n")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Workflows on identical pods, with Redis or Valkey as the only infrastructure."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status; prints every expected error as text."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that cannot show a character gets its number, not a crash.
            stream.reconfigure(errors="backslashreplace")
    try:
        status: object = app(args=given, prog_name="peerflow", standalone_mode=True)
    except SystemExit as stopped:
        status = stopped.code
    except PeerflowError as error:
        return report(error, as_json="--json" in given)
    except KeyboardInterrupt:
        stderr().print("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SUCCESS
    return status if isinstance(status, int) else SUCCESS if status is None else 1
