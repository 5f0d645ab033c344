"""Starts an embedded server detached from the pod that asks for it, and stops it once no pod is left.

Run as a program, never imported: `python -I -S embedded_watch.py FOLDER LINGER_SECONDS [SERVER_LOCK_DESCRIPTOR SERVER ARGUMENT…]`.
It imports little, because it stays for as long as pods live. The first process returns at once; its child is the watcher.

The watcher waits for `pods.lock`, which all pods share and the kernel takes from a pod in whatever way it ends. Then it gives a pod
that is just being restarted `LINGER_SECONDS` to come back, and sends SIGTERM, on which the server writes its append-only file out.
A server that has not ended after some seconds (a slow disk) is asked again, and never killed: it may hold the only copy of the last second.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

_POLL_SECONDS = 0.02
_STOP_SECONDS = 5.0  # for writing the append-only file out; meanwhile a pod that wants to join has to wait
_TURN_SECONDS = 0.5  # in which a pod that waits for the start lock gets it
_PREDECESSOR_SECONDS = 5.0  # for a watcher that has stopped a server and is about to end


def main(folder: str, linger_seconds: float, server: list[str]) -> None:
    if os.fork():
        os._exit(0)  # the pod has no child left that it would have to wait for
    os.chdir(folder)
    os.umask(0o077)
    child = start_server(int(server[0]), server[1:]) if server else None
    # Only after the server was started, which would inherit this: its death leaves no zombie, and a `pkill python` that ends the pods
    # leaves the one process that stops the server.
    for name in ("SIGCHLD", "SIGHUP", "SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    watcher = open_lock("watcher")
    if lock_within(watcher, _PREDECESSOR_SECONDS):
        watch(watcher, linger_seconds, child)


def start_server(lock: int, command: list[str]) -> int:
    """The server inherits the descriptor, and with it the lock, and is its only holder from here on."""
    remove("valkey.pid")  # one that a crash left may by now name somebody else's process
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.execv(command[0], command)
        finally:
            os._exit(127)  # execv returns only if it failed
    os.close(lock)
    return child


def watch(watcher: int, linger_seconds: float, child: int | None) -> None:
    """Returns once no server runs. All locks are opened first: they can be waited for even if the folder is removed meanwhile."""
    pods, start, server = open_lock("pods"), open_lock("start"), open_lock("server")
    while True:
        fcntl.flock(pods, fcntl.LOCK_EX)
        fcntl.flock(pods, fcntl.LOCK_UN)
        time.sleep(linger_seconds)
        fcntl.flock(start, fcntl.LOCK_EX)
        if try_lock(pods):
            if server_stopped(server, child):
                os.close(watcher)  # before the start lock: who gets that next may start a server, and needs a watcher for it
                return
            fcntl.flock(pods, fcntl.LOCK_UN)
        fcntl.flock(start, fcntl.LOCK_UN)
        time.sleep(_TURN_SECONDS)


def server_stopped(server: int, child: int | None) -> bool:
    if not try_lock(server):
        pid = recorded_pid() or child
        if pid is not None:
            try:
                os.kill(pid, signal.SIGTERM)
            except OSError:
                pass  # gone this instant: the lock tells
        if not lock_within(server, _STOP_SECONDS):
            return False
    remove_socket()
    return True


def recorded_pid() -> int | None:
    """The server that runs now; another than the child, where that one died and a later pod had a new one started."""
    try:
        with open("valkey.pid", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def remove_socket() -> None:
    try:
        with open("socket", encoding="utf-8") as file:
            socket_path = file.read()
    except OSError:
        return
    remove("socket")
    remove(socket_path)
    parent = os.path.dirname(socket_path)
    if parent != os.getcwd():
        try:
            os.rmdir(parent)
        except OSError:
            pass


def remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass


def open_lock(name: str) -> int:
    return os.open(f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3:])
