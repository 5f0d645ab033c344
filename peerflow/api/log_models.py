"""The shapes of `GET /runs/{run_id}/logs`, for OpenAPI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from peerflow.api.models import RUN_ID, Instant, Shape


class LogLine(Shape):
    """What an attempt has printed, or a record of `logging`."""

    id: Annotated[str, Field(examples=["17-3"])]
    """Its place in the run's log: what comes behind it is asked for with `after`."""
    at: Instant
    """By Redis's clock."""
    task: str
    attempt: int
    pod: str
    stream: Literal["stdout", "stderr", "log", "peerflow"]
    """`log` is `ctx.log` and `logging`; `peerflow` tells of lines that were dropped there."""
    level: str | None
    logger: str | None
    text: str
    """As the code gave it: control characters are not taken out. Of a record with a traceback, several lines."""


class LogPage(Shape):
    run_id: Annotated[str, Field(examples=[RUN_ID])]
    lines: list[LogLine]
    """By time."""
    dropped: int
    """Lines of what was asked for that are not kept any more, or never were: an attempt and a run keep the newest, up to a bound."""
    next_after: str | None
    """Give it as `after`; null where there is no more yet."""
    last: str
    """Where this page ends: gives, as `after`, what has come since."""
