"""Task functions for child processes, which import them from here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from datetime import date
from pathlib import Path

from scheduler.context import TaskContext, current
from scheduler.registry import task


@task(executor="process", name="decorated")
def decorated(day: date) -> str:
    return f"{day:%d.%m.%Y}"


def pid() -> int:
    return os.getpid()


def meets(folder: str, others: int) -> int:
    """Returns once `others` processes are here at the same time."""
    (Path(folder) / str(os.getpid())).touch()
    deadline = time.monotonic() + 20
    while len(list(Path(folder).iterdir())) < others:
        if time.monotonic() > deadline:
            raise TimeoutError("the others did not come")
        time.sleep(0.005)
    return os.getpid()


def stays_until(path: str) -> bool:
    """Returns once there is such a file."""
    deadline = time.monotonic() + 60
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.005)
    return True


def prints(text: str) -> None:
    print(text)  # noqa: T201  # what the task is for


def exits() -> None:
    sys.exit(3)


def leaves(code: int) -> None:
    os._exit(code)


def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def raises() -> None:
    raise ConnectionRefusedError("not today")


def echoes(value: object) -> object:
    return value


def long_text(size: int) -> str:
    return "x" * size


async def awaits(ctx: TaskContext) -> str:
    assert current() is ctx
    return ctx.task_id


def naps(seconds: float) -> None:
    time.sleep(seconds)


def hangs(note: str) -> None:
    """Starts a process of its own, notes both ids, and never returns."""
    child = subprocess.Popen(["sleep", "600"])
    scratch = Path(note + ".part")
    scratch.write_text(f"{os.getpid()} {child.pid}")
    scratch.rename(note)
    while True:
        time.sleep(60)


def leaves_a_process_behind(note: str) -> None:
    """Starts a process, notes its id, and dies."""
    child = subprocess.Popen(["sleep", "600"])
    scratch = Path(note + ".part")
    scratch.write_text(str(child.pid))
    scratch.rename(note)
    os._exit(1)


def dies_after_its_end() -> str:
    threading.Timer(0.01, os._exit, (1,)).start()
    return "ended"


def leaves_a_thread_behind(ctx: TaskContext) -> None:
    """Its thread goes on with signs of life when the attempt has ended."""

    def beat() -> None:
        while True:
            ctx.heartbeat("from the dead")
            time.sleep(0.005)

    threading.Thread(target=beat, daemon=True).start()


def waits_for(path: str, note: str, ctx: TaskContext, last: str = "") -> str:
    """Notes its process id, and shows signs of life until the file is there. Makes the file `last` at the end."""
    Path(note).write_text(str(os.getpid()))
    while not Path(path).exists():
        ctx.heartbeat({"pid": os.getpid()})
        time.sleep(0.005)
    if last:
        Path(last).touch()
    return "saw it"


def beats_something_unspeakable(ctx: TaskContext) -> str:
    ctx.heartbeat({1, 2})  # type: ignore[arg-type]
    return "lived"


def writes_nonsense() -> None:
    """Writes into the pipe to the pod, as a library might that mistakes the descriptor."""
    os.write(int(sys.argv[2]), b"\xff" * 64)
    time.sleep(60)


def closes_everything() -> None:
    os.closerange(3, 100)
    time.sleep(60)


def forks() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what this task is about
        child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return f"the copy ended with {os.waitstatus_to_exitcode(status)}"
    return "copy"


def python_path() -> str | None:
    return os.environ.get("PYTHONPATH")
