"""The server that is measured on: an embedded Valkey in a temporary folder, or one that the caller names."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from storage.embedded import EmbeddedValkey

END_SECONDS = 10.0


@contextmanager
def server(url: str | None) -> Generator[str]:
    """The server's URL. An embedded one (append-only file, `appendfsync everysec`) has stopped, and its folder is gone, afterwards."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="peerflow-bench-", ignore_cleanup_errors=True) as folder:
        member = EmbeddedValkey.join(Path(folder), linger_seconds=0.0)
        try:
            yield member.url
        finally:
            member.leave()
            _wait_until_gone(unquote(member.url.removeprefix("unix://")))


def _wait_until_gone(path: str) -> None:
    deadline = time.monotonic() + END_SECONDS
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
            time.sleep(0.05)
