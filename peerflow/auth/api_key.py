"""What an API key looks like: `pfk_`, 8 characters that are shown, `_`, 43 characters (256 bits) that nobody but its holder keeps."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from typing import Final

START: Final = "pfk_"
"""So that scanners for secrets, and pods, tell a key from anything else."""
PREFIX_CHARS: Final = len(START) + 8
PREFIX: Final = re.compile(START + r"[A-Za-z0-9]{8}")
SECRET_CHARS: Final = 43
LONGEST_CHARS: Final = 256
_ALPHABET: Final = string.ascii_letters + string.digits


def new_key() -> str:
    """A key that nobody has had before. One that is 43 letters and digits long takes 2^256 guesses."""
    return f"{START}{_random(8)}_{_random(SECRET_CHARS)}"


def prefix_of(key: str) -> str:
    """The part that may be shown: `pfk_Ab3dE5gH`. Whatever is no key has one too, of which nothing is known."""
    return key[:PREFIX_CHARS]


def digest_of(key: str) -> bytes:
    """SHA-256. The secret is random, so it needs neither salt nor a slow function: no list of likely keys can be tried."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _random(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))
