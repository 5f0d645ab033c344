"""How large a definition may be. Each limit is a setting, and is checked before anything is stored."""

from __future__ import annotations

from dataclasses import dataclass

ID_PATTERN = r"^[A-Za-z0-9_.-]{1,128}$"
"""Ids of tasks, names of task functions, queues and label keys: safe in Redis keys, URLs and metric labels."""

ID_CHARS = 128
"""The longest id."""

EFFECTS_PER_TASK = 64
"""Names that one task may give to `ctx.once()`: what a task leaves in storage has a bound."""

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest definition that is accepted; a value equal to the limit is accepted."""

    body_bytes: int = 16 * MIB
    """Body of `POST /workflow`."""
    other_body_bytes: int = MIB
    """Body of every other call."""
    depth: int = 64
    """Arrays and objects inside each other, anywhere in a JSON document."""
    containers: int = 1_000_000
    """Arrays and objects in one JSON document, empty ones included: each costs up to 250 bytes of memory for 3 bytes of text."""
    tasks: int = 100_000
    edges: int = 1_000_000
    """Dependencies between tasks. Two parallel steps in a row have as many as the product of their sizes."""
    nesting: int = 32
    """Steps inside each other."""
    args_bytes: int = 256 * KIB
    """`args` of one task, as compact JSON in UTF-8."""
    result_bytes: int = 256 * KIB
    """Result of one task, as compact JSON in UTF-8."""


DEFAULT_LIMITS = Limits()

_BOUNDLESS = 2**63
NO_LIMITS = Limits(
    body_bytes=_BOUNDLESS,
    other_body_bytes=_BOUNDLESS,
    depth=_BOUNDLESS,
    containers=_BOUNDLESS,
    tasks=_BOUNDLESS,
    edges=_BOUNDLESS,
    nesting=_BOUNDLESS,
    args_bytes=_BOUNDLESS,
    result_bytes=_BOUNDLESS,
)
"""For a definition that was accepted before: the pod that took it may have been given wider limits than the one that reads it."""
