"""The workflows that are posted, as bodies of requests."""

from __future__ import annotations

import json

from examples import generate

FUNCTION = "noop"


def chain(tasks: int) -> bytes:
    """`tasks` tasks one after the other."""
    return json.dumps(generate.chain(FUNCTION, size=tasks)).encode()


def fan(width: int) -> bytes:
    """1 → `width` → 1."""
    return json.dumps(generate.fan(FUNCTION, size=width)).encode()


def small() -> bytes:
    """a and b in parallel, then c."""
    steps = [{"type": "parallel", "tasks": [FUNCTION, FUNCTION]}, {"type": "sequential", "tasks": [FUNCTION]}]
    return json.dumps({"steps": steps}).encode()
