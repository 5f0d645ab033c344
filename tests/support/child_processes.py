"""Looks at child processes from outside, for tests that kill them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from scheduler.attempt import Attempt
from tests.support.attempts import Workbench
from tests.support.waiting import wait_until, wait_until_async


def start(
    bench: Workbench,
    function: Callable[..., Any],
    args: dict[str, JsonValue] | None = None,
    timeout_seconds: float | None = None,
    heartbeat_timeout_seconds: float | None = None,
) -> Attempt:
    return bench.start(function, args, timeout_seconds, heartbeat_timeout_seconds, executor="process")


def is_alive(pid: int) -> bool:
    """False also for a process that has ended and that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()


def hold_the_loop(seconds: float) -> None:
    """Keeps the loop from looking around, so that it then finds at once all that has happened meanwhile."""
    deadline = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > deadline, "the time to pass")


def numbers_in(note: Path) -> list[int]:
    """Nothing while the note is not there, or not written."""
    return [int(number) for number in note.read_text().split()] if note.exists() else []


async def pids_noted(note: Path) -> list[int]:
    return await wait_until_async(lambda: numbers_in(note), "the note with the process ids")
