"""Takes connections from a listening socket that several processes share, so that each of them gets about as many.

Why shared: a process that ends, or freezes, takes no connection with it that it has not accepted; with SO_REUSEPORT each has a queue of
its own, which is lost. Why in turns: whoever wakes up first would empty the queue, and keep those connections for as long as they live
(16 at once on two processes: all 16 with one of them, every second time; in turns 7 to 9).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

PAUSE_SECONDS: Final = 0.001
"""After each turn: long enough for another process to wake up and take its own."""
LARGEST_TURN: Final = 64
"""Turns double while connections wait, so that a flood is taken in too."""
FAILURE_PAUSE_SECONDS: Final = 0.1
"""After an accept that failed, for want of file descriptors most often, which the next one would want too."""


class TakingTurns:
    """Accepts from `listener` in this loop, from `start` until `stop`, and passes each connection to `take`."""

    def __init__(self, listener: socket.socket, take: Callable[[socket.socket], object]) -> None:
        self._listener, self._take = listener, take
        self._loop = asyncio.get_running_loop()
        self._turn = 1
        self._pause: asyncio.TimerHandle | None = None
        self._stopped = False

    def start(self) -> None:
        self._listener.settimeout(0)
        self._loop.add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Accepts nothing more, and closes this process's side of the socket. May be called again."""
        if self._stopped:
            return
        self._stopped = True
        self._loop.remove_reader(self._listener)
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()

    def _accept(self) -> None:
        for _ in range(self._turn):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                self._turn = 1
                return
            except OSError:
                self._rest(FAILURE_PAUSE_SECONDS)
                return
            connection.settimeout(0)
            self._take(connection)
        self._turn = min(2 * self._turn, LARGEST_TURN)
        self._rest(PAUSE_SECONDS)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)
        # At once, too: where nothing waits any more, the next turn is a short one again.
        self._accept()
