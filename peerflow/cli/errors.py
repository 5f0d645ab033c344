"""How an error looks to the one who typed the command: what is wrong, where, and what to do. Never a traceback."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from engine.errors import ConfigError, DefinitionError, PeerflowError, Problem
from peerflow.cli import credentials
from peerflow.cli.files import FileRefused
from peerflow.cli.output import clean, plural, print_json, stderr
from peerflow.client import ApiError, PodUnreachable

# Exit statuses; 2 is also what a wrong option gets.
SUCCESS = 0
NOT_SUCCEEDED = 1
REFUSED = 2
NO_POD = 3
INTERRUPTED = 130
# Problems that are printed; the rest is counted.
SHOWN_PROBLEMS = 20


def exit_status(error: PeerflowError) -> int:
    return NO_POD if isinstance(error, PodUnreachable) else REFUSED


def report(error: PeerflowError, *, as_json: bool) -> int:
    """Prints the error, to standard error or as the command's JSON document, and returns the exit status."""
    if as_json:
        print_json({"error": error_json(error)})
    else:
        _print(error, stderr())
    return exit_status(error)


def error_json(error: PeerflowError) -> JsonValue:
    """`{"message", "status"?, "type"?, "problems"?, "addresses"?}`; problems carry `line` where it is known."""
    fields: dict[str, JsonValue] = {"message": str(error)}
    match error:
        case ApiError():
            fields |= {"status": error.status, "type": error.type, "title": error.title}
            fields["problems"] = [problem_json(problem, None) for problem in error.problems]
        case FileRefused():
            fields["problems"] = [problem_json(problem, line) for problem, line in error.places]
        case DefinitionError():
            fields["problems"] = [problem_json(problem, None) for problem in error.problems]
        case PodUnreachable():
            fields["addresses"] = [*error.causes]
        case ConfigError():
            fields["problems"] = [*error.problems]
        case _:
            pass
    return fields


def problem_json(problem: Problem, line: int | None) -> JsonValue:
    return {"code": problem.code, "pointer": problem.pointer, "line": line, "message": problem.message, "remedy": problem.remedy}


def _print(error: PeerflowError, console: Console) -> None:
    match error:
        case FileRefused():
            print_places(console, error)
        case ApiError():
            _headline(console, error.detail or error.title)
            if len(error.problems) == 1 and error.problems[0].message == error.detail:
                remedy = credentials.remedy(error.status) or error.problems[0].remedy
                console.print(Text(f"  → {clean(remedy)}", style="green"))
            else:
                _print_problems(console, "", [(problem, None) for problem in error.problems])
        case DefinitionError():
            _headline(console, "the definition is refused")
            _print_problems(console, "", [(problem, None) for problem in error.problems])
        case PodUnreachable():
            _headline(console, "no pod answers")
            for address, cause in error.causes.items():
                console.print(Text(f"  {address}: {cause}"))
            console.print(Text(f"Start one with: {start_command(list(error.causes))}"))
            console.print(Text("or name another address with --url or PEERFLOW_URL."))
        case ConfigError():
            _headline(console, "the settings are refused" if len(error.problems) > 1 else clean(error.problems[0]))
            for problem in error.problems if len(error.problems) > 1 else []:
                console.print(Text(f"  {clean(problem)}"))
        case _:
            _headline(console, str(error))


def print_places(console: Console, refused: FileRefused) -> None:
    """`FILE:LINE  POINTER`, the message and the remedy of each problem."""
    problems = plural(len(refused.places), "problem")
    _headline(console, f"{refused.name}: {refused.headline} ({problems})" if refused.places else f"{refused.name}: {refused.headline}")
    _print_problems(console, refused.name, list(refused.places))


def _print_problems(console: Console, name: str, places: list[tuple[Problem, int | None]]) -> None:
    for problem, line in places[:SHOWN_PROBLEMS]:
        where = f"{name}:{line}" if name and line is not None else name
        place = "  ".join(part for part in (clean(where), clean(problem.pointer)) if part)
        console.print(Text(f"  {place}" if place else "  the definition", style="bold"))
        console.print(Text(f"    {clean(problem.message)}"))
        if problem.remedy:
            console.print(Text(f"    → {clean(problem.remedy)}", style="green"))
    if len(places) > SHOWN_PROBLEMS:
        console.print(Text(f"  … and {plural(len(places) - SHOWN_PROBLEMS, 'more problem')}"))


def _headline(console: Console, text: str) -> None:
    console.print(Text.assemble(("error: ", "bold red"), clean(text)))


def start_command(addresses: list[str]) -> str:
    """The command that starts a pod where the first local address expects one."""
    for address in addresses:
        url = urlsplit(address)
        if url.hostname in {"127.0.0.1", "localhost", "::1"}:
            port = httpx.URL(address).port or (443 if url.scheme == "https" else 80)
            return "peerflow serve" if port == 8000 else f"peerflow serve --port {port}"
    return "peerflow serve"
