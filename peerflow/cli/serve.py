"""`serve`: one pod in this process, or several as children of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from peerflow import logging
from peerflow.cli import demo as demonstration
from peerflow.cli.pod_child import stop_with_parent
from peerflow.cli.pod_processes import PodProcesses
from peerflow.listener import Place
from peerflow.settings import Settings

Host = Annotated[str | None, typer.Option("--host", help="Address that the API listens on; default PEERFLOW_HOST, else 127.0.0.1.")]
Port = Annotated[int | None, typer.Option("--port", help="Port of the API; default PEERFLOW_PORT, else 8000.")]
RedisUrl = Annotated[
    str | None,
    typer.Option("--redis-url", metavar="URL", help="Redis or Valkey of all pods; default PEERFLOW_REDIS_URL, else an embedded Valkey."),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--tasks", metavar="MODULE", help="Module with task functions; may be given several times; default PEERFLOW_TASKS."),
]
Pods = Annotated[int, typer.Option("--pods", min=1, max=64, help="Pods on this machine, each a process; they share the port.")]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", help="Attempts that a pod runs at once; default PEERFLOW_CONCURRENCY, else 100.")
]
Demo = Annotated[bool, typer.Option("--demo", metavar="", hidden=True, help="Also run the example workflow and show its progress.")]
StopWithParent = Annotated[bool, typer.Option("--stop-with-parent", metavar="", hidden=True, help="Stop when standard input ends.")]
Listener = Annotated[int | None, typer.Option("--listener", metavar="", hidden=True, help="Descriptor of the socket that pods share.")]
PrivateSocket = Annotated[Path | None, typer.Option("--private-socket", metavar="", hidden=True, help="Where only this pod answers.")]


def serve(
    host: Host = None,
    port: Port = None,
    redis_url: RedisUrl = None,
    tasks: Tasks = None,
    pods: Pods = 1,
    concurrency: Concurrency = None,
    demo: Demo = False,
    stop_with_parent_: StopWithParent = False,
    listener: Listener = None,
    private_socket: PrivateSocket = None,
) -> None:
    """Start a pod: the HTTP API and the scheduler. Without a Redis URL all pods of this machine share an embedded Valkey."""
    modules = [module.strip() for text in tasks or [] for module in text.split(",") if module.strip()]
    options = {"host": host, "port": port, "redis_url": redis_url, "tasks": tuple(modules) or None, "concurrency": concurrency}
    settings = Settings.load(options)
    if demo:
        raise typer.Exit(demonstration.run(settings, pods))
    if pods > 1:
        raise typer.Exit(_supervise(settings, pods))
    if stop_with_parent_:
        stop_with_parent()
    place = None if listener is None or private_socket is None else Place(listener, private_socket)
    # The pod is wired together above the command line, and importing it takes longer than most commands run.
    from peerflow.main import serve as serve_pod  # noqa: PLC0415

    raise typer.Exit(serve_pod(settings, place))


def _supervise(settings: Settings, count: int) -> int:
    writer = logging.configure(settings.log_level, settings.log_format)
    try:
        processes = PodProcesses(settings, count, say=_say)
        with processes.heeding_signals(), processes:
            _say(f"{count} pods on {processes.address}", False)
            return processes.wait()
    finally:
        writer.close()


def _say(text: str, alarm: bool) -> None:
    logging.LOGGER.log(logging.WARNING if alarm else logging.INFO, "%s", text, extra={"event": "supervisor"})
