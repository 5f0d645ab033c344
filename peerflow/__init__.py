"""A workflow engine without a control plane: identical pods, and Redis or Valkey as the only infrastructure.

    from peerflow import task

    @task
    async def greet(name: str) -> str:
        return f"hello {name}"

`task` registers functions, `TaskContext` is what they may know about their attempt, `Effect` is what `ctx.once()` gives them, `Client`
talks to a pod.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from engine.errors import EffectUnknown, LeaseLost
from scheduler.context import TaskContext
from scheduler.effects import Effect, EffectMemory
from scheduler.registry import task

if TYPE_CHECKING:
    from peerflow.client import Client

try:
    __version__ = version("peerflow")
except PackageNotFoundError:
    __version__ = "0"

__all__ = ["Client", "Effect", "EffectMemory", "EffectUnknown", "LeaseLost", "TaskContext", "__version__", "task"]


def __getattr__(name: str) -> Any:
    # The client brings an HTTP library; modules of tasks, which child processes import too, do without.
    if name == "Client":
        from peerflow.client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
