"""The folder of an embedded server: which file means what, and which folders are refused.

| file | meaning |
| --- | --- |
| `peerflow-data` | marks the folder as ours and names its format; a folder with other files and without it is refused |
| `start.lock` | held, exclusively, while somebody starts or stops the server |
| `pods.lock` | held, shared, by each pod for as long as it lives; the watcher gets it exclusively once no pod is left |
| `server.lock` | held by the server process itself, which inherits it: free means that no server runs, whatever other files say |
| `watcher.lock` | held by the watcher |
| `socket` | path of the server's unix socket: a later pod may have another temporary directory than the first one had |
| `valkey.log`, `valkey.pid`, `appendonlydir/` | the server's own |

All locks are `flock` locks: the kernel drops them when their holder ends, `kill -9` included, so that no file can lie about who lives.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError, StorageUnavailable

_MARKER = "peerflow-data"
_FORMAT = "peerflow embedded data, format 1\n"
_WRITTEN_BEFORE_MARKER = frozenset({"start.lock", _MARKER, _MARKER + ".new"})
_SOCKET_PATH_BYTES = 103  # sun_path holds 104 bytes on macOS and 108 on Linux, the closing NUL included
_POLL_SECONDS = 0.01
_LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """The server's folder below the data directory. `prepare` is the only way to get one."""

    path: Path

    @classmethod
    def prepare(cls, data_dir: Path) -> Folder:
        """Makes `data_dir`/valkey, readable by this user alone, and refuses what cannot or must not be used.

        Raises ConfigError where the folder cannot be made, or holds files that are not ours, or those of a newer release.
        """
        path = Path(os.path.abspath(data_dir)) / "valkey"  # noqa: PTH100  # Path.resolve would also follow the user's own symbolic links
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.stat().st_uid != os.getuid():
                raise PermissionError(f"{path} belongs to another user")
            path.chmod(0o700)
            entries = set(os.listdir(path)) - _WRITTEN_BEFORE_MARKER  # noqa: PTH208  # names, not paths
            marker = path / _MARKER
            text = marker.read_text(encoding="utf-8") if marker.exists() else None
        except (OSError, ValueError) as error:
            raise ConfigError([f"PEERFLOW_DATA_DIR: {data_dir} cannot be used: {error}; name a folder that this user can write"]) from error
        if text is None and entries:
            found = ", ".join(sorted(entries)[:3])
            raise ConfigError([f"PEERFLOW_DATA_DIR: {path} holds files that are not peerflow's ({found}); name an empty or new folder"])
        if text is not None and text != _FORMAT:
            raise ConfigError([f"PEERFLOW_DATA_DIR: {path} is marked {text[:80]!r}, expected {_FORMAT!r}; use the release that wrote it"])
        return cls(path)

    def mark(self) -> None:
        """Makes the folder ours. The caller holds the start lock."""
        marker = self.path / _MARKER
        if not marker.exists():
            new = self.path / (_MARKER + ".new")
            new.write_text(_FORMAT, encoding="utf-8")
            new.replace(marker)

    def open_lock(self, name: str) -> int:
        """Opens a lock file; the caller closes the descriptor."""
        return os.open(self.path / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def lock(self, name: str, mode: int, deadline: float) -> int:
        """Holds a lock until the returned descriptor is closed.

        Raises StorageUnavailable where another process keeps it past `deadline` (monotonic seconds).
        """
        descriptor = self.open_lock(name)
        while not try_lock(descriptor, mode):
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise StorageUnavailable(str(self.path), TimeoutError(f"another process has held {name}.lock all the time"))
            time.sleep(_POLL_SECONDS)
        return descriptor

    def is_free(self, name: str) -> bool:
        """True where no process holds the lock at this instant."""
        descriptor = self.open_lock(name)
        try:
            return try_lock(descriptor, fcntl.LOCK_EX)
        finally:
            os.close(descriptor)

    @contextmanager
    def starting(self, deadline: float) -> Generator[None]:
        """Nobody else starts or stops the server within this block."""
        descriptor = self.lock("start", fcntl.LOCK_EX, deadline)
        try:
            yield
        finally:
            os.close(descriptor)

    def socket_path(self) -> str:
        """The socket of the server that runs or ran last, or else a new choice."""
        record = self.path / "socket"
        return record.read_text(encoding="utf-8") if record.exists() else _choose_socket(self.path)

    def record_socket(self) -> str:
        """Chooses and records the socket of the server that is about to start. The caller holds the start lock."""
        socket_path = _choose_socket(self.path)
        (self.path / "socket").write_text(socket_path, encoding="utf-8")
        return socket_path

    @property
    def log(self) -> Path:
        return self.path / "valkey.log"

    def rotate_log(self) -> None:
        """Keeps the log bounded: one older file is kept, and a start is the one moment at which nobody writes."""
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES:
            self.log.replace(self.path / "valkey.log.1")

    def log_tail(self) -> str:
        """The last four lines that the server wrote, 2 KiB at most."""
        lines = self.log.read_bytes()[-2048:].decode("utf-8", "replace").splitlines()
        return " | ".join(lines[-4:])


def try_lock(descriptor: int, mode: int) -> bool:
    """Takes the lock if that needs no waiting."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _choose_socket(folder: Path) -> str:
    """A path that fits into `sun_path`: in the folder itself, else in a private folder where temporary files go."""
    inside = str(folder / "valkey.sock")
    if len(os.fsencode(inside)) <= _SOCKET_PATH_BYTES:
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"peerflow-{os.getuid()}-{digest}"
    parent.mkdir(mode=0o700, exist_ok=True)
    found = parent.lstat()
    # A folder that another user made first would let that user answer in the server's place.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError([f"{parent} must be a folder of this user with mode 0700; remove it, or choose a shorter PEERFLOW_DATA_DIR"])
    short = str(parent / "valkey.sock")
    if len(os.fsencode(short)) > _SOCKET_PATH_BYTES:
        raise ConfigError([f"PEERFLOW_DATA_DIR: {folder} is too long for a unix socket, and so is {short}; choose a shorter one"])
    return short
