"""One child process, as its pod sees it: started, spoken to, killed, mourned."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

from scheduler.lanes import Run
from scheduler.wire import Unpacker, WireError, pack

READ_BYTES = 64 * 1024

PACKAGES = str(Path(__file__).parent.parent)
"""The folder that holds this package and its neighbours."""


class Owner(Protocol):
    """Who is told about a worker; in the loop's thread."""

    def worker_said(self, worker: Worker, message: dict[str, Any]) -> None: ...
    def worker_ended(self, worker: Worker, how: str) -> None:
        """It is gone, and all that it had sent has been told."""
        ...


class Worker:
    """A process of `scheduler.child`, the leader of its own process group. It is started by the constructor.

    A daemon thread starts the process and waits for its end, because both may block. All methods are called in the loop's thread.
    """

    def __init__(self, owner: Owner, hello: dict[str, Any]) -> None:
        self.run: Run | None = None
        """What it works on. The owner's to set."""
        self.ready = False
        """True once it has said so. The owner's to set."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._unpacker = Unpacker()
        self._unsent = bytearray()
        self._killed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        # Neither end is inheritable: other children must not hold this one's pipes open.
        child_in, self._out = os.pipe()
        self._in, child_out = os.pipe()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)
        self._loop.add_reader(self._in, self._read_some)
        threading.Thread(target=self._live, args=(child_in, child_out), name="peerflow-child", daemon=True).start()
        self.send({"op": "hello", **hello})

    def send(self, message: dict[str, Any]) -> None:
        """Sends now what the pipe takes, the rest when it takes more. To a dead process it sends nothing: `worker_ended` follows."""
        waiting = bool(self._unsent)
        self._unsent += pack(message)
        if not waiting:
            self._write_some()

    def read(self) -> None:
        """Tells the owner what has arrived up to now, so that a result which was in time counts."""
        while self._read_some():
            pass

    def kill(self) -> None:
        """Ends the process and all that it has started, at once. `worker_ended` follows."""
        self._killed = True
        self._kill_group()

    def _kill_group(self) -> None:
        # Called from both threads. The process is not started yet, or alive, or its id is about to be released: see _live.
        if self._process is not None and not self._ended:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _write_some(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._out, self._unsent)]
        except BlockingIOError:
            self._loop.add_writer(self._out, self._write_some)
            return
        except OSError:
            self._unsent.clear()
        self._loop.remove_writer(self._out)

    def _read_some(self) -> bool:
        """True if there may be more."""
        if self._in < 0:
            return False
        try:
            data = os.read(self._in, READ_BYTES)
            for message in self._unpacker.feed(data):
                self._owner.worker_said(self, message)
        except BlockingIOError:
            return False
        except (OSError, WireError):
            data = b""
        if not data:
            # Nobody writes any more, or something else than we do: either way this process is of no more use.
            self._loop.remove_reader(self._in)
            self.kill()
        return bool(data)

    def _mourn(self, how: str) -> None:
        self.read()
        self._loop.remove_reader(self._in)
        self._loop.remove_writer(self._out)
        os.close(self._in)
        os.close(self._out)
        self._in = self._out = -1
        self._owner.worker_ended(self, how)

    # Below: in the worker's own thread.

    def _live(self, child_in: int, child_out: int) -> None:
        try:
            process, how = _start(child_in, child_out), ""
        except OSError as error:
            process, how = None, f"could not be started: {error}"
        finally:
            # Only the child may hold its ends, else neither side notices that the other is gone.
            os.close(child_in)
            os.close(child_out)
        if process is not None:
            how = self._attend(process)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody mourns
            self._loop.call_soon_threadsafe(self._mourn, how)

    def _attend(self, process: subprocess.Popen[bytes]) -> str:
        self._process = process
        if self._killed:  # in the meantime
            self._kill_group()
        code = process.wait()
        # What it started and left behind goes with it; as long as some of that lives, no other process gets the number.
        self._kill_group()
        self._ended = True
        return _described(code)


def search_path() -> list[str]:
    """Where this process finds modules, as text that means the same in a child."""
    return [entry or str(Path.cwd()) for entry in sys.path]


def _start(child_in: int, child_out: int) -> subprocess.Popen[bytes]:
    # Until it has our packages, the child does without the working directory, where folders may have the same names: -P, and no entry here.
    path = [entry for entry in search_path() if entry == PACKAGES or entry != str(Path.cwd())]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "scheduler.child", str(child_in), str(child_out)],
        stdin=subprocess.DEVNULL,
        pass_fds=(child_in, child_out),
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
    )


def _described(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = "; the system kills so when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed by signal {-code} ({name}){hint}"
