"""Where a pod listens: on a port of its own, or on one that it shares with the other pods of its supervisor."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import ConfigError

BACKLOG: Final = 2048


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; raises ConfigError where the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            [f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port with --port or PEERFLOW_PORT"]
        ) from None
    return listener


@dataclass(frozen=True, slots=True)
class Place:
    """A pod's place among the pods of one supervisor, which all take connections from one socket."""

    listener: int
    """File descriptor of the shared listening socket, inherited."""
    private_socket: Path
    """Unix socket on which this pod alone answers; the folder has one for each of the supervisor's pods, and is this user's only."""

    def shared(self) -> socket.socket:
        """The shared socket, which no program that this pod starts inherits. To be called once."""
        shared = socket.socket(fileno=self.listener)
        shared.set_inheritable(False)
        shared.settimeout(0)
        return shared

    def listen_alone(self) -> socket.socket:
        """A new socket that listens at `private_socket`."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(self.private_socket))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise ConfigError([f"cannot listen on {self.private_socket}: {error.strerror or error}"]) from None
        return listener

    def siblings(self) -> list[Path]:
        """The private sockets of the supervisor's other pods. One of them may have just gone: whoever connects must expect a refusal."""
        return sorted(path for path in self.private_socket.parent.glob("*.sock") if path != self.private_socket)
