"""Options that several commands share, and the client that they ask for."""

from __future__ import annotations

from typing import Annotated

import typer

from peerflow.cli.credentials import api_key
from peerflow.client import DEFAULT_URL, Client

Url = Annotated[
    str,
    typer.Option(
        "--url", envvar="PEERFLOW_URL", metavar="URL[,URL…]", help="Address of a pod; of several, the first that answers is asked."
    ),
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON document instead of text for people.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, as `submit` prints it.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="Definition in JSON or YAML; - reads standard input.")]

__all__ = ["DEFAULT_URL", "File", "Json", "RunId", "Url", "connect"]


def connect(url: str) -> Client:
    """A client for one command: each address is asked once, because somebody waits for the answer."""
    return Client(url, api_key=api_key(), patience_seconds=0.0)
