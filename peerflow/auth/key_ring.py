"""The keys in force: looked up by prefix, compared in constant time, read anew when their file changes."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import ConfigError
from engine.events import Publisher
from peerflow.auth import key_file
from peerflow.auth.api_key import LONGEST_CHARS, digest_of, prefix_of
from peerflow.auth.events import KeysRead, KeysRefused
from peerflow.auth.identity import Identity, Refused

LOOK_SECONDS: Final = 2.0
"""How often the file is looked at: a key that is taken out of it works for so long."""
UNKNOWN: Final = "the key or token is not valid"
Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    sha256: bytes
    identity: Identity


class KeyRing:
    """The keys of one file. Used from the event loop alone."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Reads the file. Raises ConfigError with everything that is wrong with it."""
        self._path, self._clock = path, clock
        # An unknown prefix is compared as well, with what no key has.
        self._nobody = _Known(secrets.token_bytes(32), Identity("", "", frozenset(), everywhere=False, expires_at=None))
        self._signature = signature_of(path)
        self._known = _by_prefix(key_file.read(path))

    def __len__(self) -> int:
        return len(self._known)

    def identify(self, key: str) -> Identity:
        """Whose key it is. Raises Refused; that a key has expired is told to its holder alone."""
        if len(key) > LONGEST_CHARS:
            raise Refused(UNKNOWN)
        known = self._known.get(prefix_of(key), self._nobody)
        if not hmac.compare_digest(digest_of(key), known.sha256):
            raise Refused(UNKNOWN)
        expires_at = known.identity.expires_at
        if expires_at is not None and expires_at <= self._clock():
            raise Refused(f"the key {prefix_of(key)} ({known.identity.name}) has expired")
        return known.identity

    async def watch(self, publisher: Publisher) -> None:
        """Looks at the file for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look(publisher)

    async def look(self, publisher: Publisher) -> None:
        """Reads the file if it has changed. One that cannot be used leaves the keys as they are, and is told of once."""
        # The file may lie on a slow mount; the loop must not wait for it.
        signature = await asyncio.to_thread(signature_of, self._path)
        if signature == self._signature:
            return
        # Noted before the file is read: what is written meanwhile is seen at the next look.
        self._signature = signature
        try:
            self._known = await asyncio.to_thread(lambda: _by_prefix(key_file.read(self._path)))
        except ConfigError as error:
            publisher.publish(KeysRefused(file=str(self._path), reason=str(error)))
        else:
            publisher.publish(KeysRead(file=str(self._path), keys=len(self._known)))


def _by_prefix(entries: list[key_file.Entry]) -> dict[str, _Known]:
    return {entry.prefix: _Known(entry.sha256, entry.identity()) for entry in entries}


def signature_of(path: Path) -> Signature | None:
    """What changes when the file does, or when a link on the way to it leads elsewhere; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
