"""An event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
CLOSE_SECONDS = 10.0


class LoopThread:
    """Runs what other threads give it, until it is closed."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Starts a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_seconds: float = 30.0) -> T:
        """Runs a coroutine in the loop, and waits for it. Raises what it raises, and TimeoutError."""
        return self.begin(coroutine).result(timeout_seconds)

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Calls a function soon in the loop; a loop that has ended hears nothing."""
        try:
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            return

    def close(self) -> None:
        """Cancels what is left, and ends the thread; a thread that user code holds is left behind."""
        if self._thread.is_alive():
            self.call(self.loop.stop)
            self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()
