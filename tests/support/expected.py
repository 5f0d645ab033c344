"""What a dump in words must show: a run's row and a pod's keys, as most tests find them."""

from __future__ import annotations

from tests.support.key_dump import Shown
from tests.support.lab import FUNCTIONS

SKILLS = f"skills of {len(FUNCTIONS)}"
"""The digest of a lab pod's capabilities."""
SAID = " q:default f:echo f:sleep f:task_a f:task_b f:task_c "


def run_row(total: int, **fields: str | int) -> dict[str, str]:
    """The hash of a run that has just been created, but for `fields`; None of its tasks is ready without them."""
    row: dict[str, str | int] = {
        "state": "running", "created": "t", "total": total, "retention": 3_600_000, "on_failure": "continue", "priority": 0,
        "ready": 0, "running": 0, "waiting": 0, "succeeded": 0, "failed": 0, "skipped": 0, "hard_failures": 0,
    }  # fmt: skip
    return {field: str(value) for field, value in (row | fields).items()}


def numbered(*lines: str) -> dict[str, str]:
    """A list's elements by their place."""
    return {str(place): line for place, line in enumerate(lines, 1)}


def pods(*names: str) -> Shown:
    """The keys of pods that have said what they are, and done nothing."""
    return {
        "pods": dict.fromkeys(names, "t+10000"),
        f"capabilities:{SKILLS}": {"value": SAID, "(until)": "t+120000"},
        **{f"pod:{name}": {"value": '{"host":"h"}', "(until)": "t+120000"} for name in names},
    }


def idle(*names: str) -> Shown:
    """The keys of pods that found nothing to claim."""
    return {"waiting": {SKILLS: "t"}, f"waiting:{SKILLS}": {"(until)": "t+90000", **dict.fromkeys(names, "t")}}


def added(shown: Shown) -> Shown:
    """These keys as changes, where they were not there before."""
    return {key: {field: f"+{text}" for field, text in fields.items()} for key, fields in shown.items()}


def removed(shown: Shown) -> Shown:
    """These keys as changes, where they are there no more."""
    return {key: {field: f"-{text}" for field, text in fields.items()} for key, fields in shown.items()}
