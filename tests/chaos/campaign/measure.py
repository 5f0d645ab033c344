"""Recovery times alone: one fault at a time, with tasks under way, and nothing else broken."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from peerflow.testing.checker import check
from peerflow.testing.records import read_run_over_http
from tests.chaos.campaign.arena import PLACES, Arena, Place
from tests.chaos.campaign.recovery import recoveries
from tests.chaos.campaign.round import Tally, foreign_results
from tests.chaos.campaign.traffic import wait_until_all_ended
from tests.support.waiting import wait_until

TASKS = 24
"""Of one run; each waits until the run may end. Two pods have room for them all."""


def measure(folder: Path, ttl_seconds: float, kills: int, stops: int, tally: Tally, say: Callable[[str], None]) -> None:
    """Kills and stops pods, one after the other, each with a run of its own; adds the times to the tally."""
    arena = Arena(folder, ttl_seconds, [0.0] * PLACES)
    try:
        runs: list[str] = []
        for kind in ["kill -9"] * kills + ["SIGTERM"] * stops:
            runs.append(arena.places[0].pod.post({"tasks": {f"held{number}": {"task": "held"} for number in range(TASKS)}}))
            wait_until(lambda: len(_latest(arena, runs[-1])) == TASKS, "all tasks are under way", 60)
            _break(arena, kind, runs[-1])
            (folder / "open").touch()
            left = wait_until_all_ended(arena, runs[-1:], 60)
            (folder / "open").unlink()
            tally.violations += [f"L1: run {run_id} has not ended" for run_id in left]
        records = [read_run_over_http(arena.get, run_id) for run_id in runs]
        entries = arena.history.entries()
        tally.violations += [str(violation) for violation in check(arena.history, records)]
        tally.violations += foreign_results(records)
        tally.add(records, entries)
        for kind in ("kill -9", "SIGTERM"):
            times = recoveries(entries, kind)
            tally.recovered.setdefault(f"{kind}, TTL {ttl_seconds:g} s", []).extend(times)
            say(f"{kind}, TTL {ttl_seconds:g} s: {len(times)} orphans, the last after {max(times, default=0):.2f} s")
    finally:
        arena.close()


def _latest(arena: Arena, run_id: str) -> dict[str, str]:
    """Task → the pod on which its latest attempt has started."""
    starts = (entry for entry in arena.history.entries() if entry.phase == "attempt_started" and entry.text("run_id") == run_id)
    return {entry.text("task_id") or "": entry.text("pod_id") or "" for entry in starts}


def _break(arena: Arena, kind: str, run_id: str) -> None:
    """Does it to the pod that runs most, and waits until all of that runs again."""
    pod_id, _ = Counter(_latest(arena, run_id).values()).most_common(1)[0]
    place: Place = next(place for place in arena.places if place.pod_id == pod_id)
    # Noted before it happens: a time that is too long by a moment is honest, one that is too short is not.
    arena.history.fault(kind, pod_id=pod_id)
    place.pod.process.send_signal(signal.SIGKILL if kind == "kill -9" else signal.SIGTERM)
    wait_until(lambda: pod_id not in _latest(arena, run_id).values(), "all orphans have started again", arena.ttl_seconds + 60)
    place.replace()
    arena.wait_until_ready()
