"""Ids of runs and tasks: how they are made, and what counts as one.

A run id is a UUID version 7 (RFC 9562 §5.7), so ids sort by creation time, and its last 16 bits name the partition that holds the run:
any pod finds a run's keys from the id alone.
"""

from __future__ import annotations

import hashlib
import re

from engine.limits import ID_PATTERN

RANDOM_BYTES = 10
"""How many random bytes a run id takes."""

MAX_PARTITIONS = 4096
"""Leaves at least 4 of the last 16 bits random."""

_RUN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ID = re.compile(ID_PATTERN.strip("^$"))


def run_id(now_ms: int, random_bytes: bytes, partition: int, partitions: int) -> str:
    """A new run id in its canonical form: 36 characters, lower case.

    `now_ms` is milliseconds since the epoch, `random_bytes` exactly 10 bytes from a good source.
    Raises ValueError for a partition outside `0 … partitions - 1`.
    """
    if not 1 <= partitions <= MAX_PARTITIONS:
        raise ValueError(f"partitions ({partitions}) must be between 1 and {MAX_PARTITIONS}")
    if not 0 <= partition < partitions:
        raise ValueError(f"partition ({partition}) must be between 0 and partitions - 1 ({partitions - 1})")
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"random_bytes ({len(random_bytes)} bytes) must be {RANDOM_BYTES} bytes")
    random = int.from_bytes(random_bytes, "big")
    low = random & 0xFFFF
    low += partition - low % partitions
    if low > 0xFFFF:
        low -= partitions
    rand_a = random >> 68
    rand_b_high = (random >> 16) & ((1 << 46) - 1)
    value = (now_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b_high << 16 | low
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def partition_of(run_id: str, partitions: int) -> int:
    """The partition that holds the run, between 0 and `partitions - 1`."""
    return int(run_id[-4:], 16) % partitions


def created_ms(run_id: str) -> int:
    """When the run's id was made, by the clock of the pod that made it: milliseconds since the epoch."""
    return int(run_id[:8] + run_id[9:13], 16)


def is_run_id(text: str) -> bool:
    """True for a UUID version 7 in canonical form; everything else cannot be the id of a run."""
    return _RUN_ID.fullmatch(text) is not None


def is_id(text: str) -> bool:
    """True for what may name a task, a task function, a queue or an effect.

    `.` and `..` are refused: clients and proxies remove them from the path of a URL.
    """
    return _ID.fullmatch(text) is not None and text not in {".", ".."}


def effect_key(run_id: str, task_id: str, name: str | None = None) -> str:
    """64 hex digits that name a task's effect, or the one of its effects that has a name: the same in all attempts of that task.

    Ids have no slash, so no two effects share a key.
    """
    parts = (run_id, task_id) if name is None else (run_id, task_id, name)
    return hashlib.sha256("/".join(parts).encode()).hexdigest()
