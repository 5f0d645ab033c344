"""One round: traffic and faults for a while, then everything is mended, and all that was accepted must come to its end."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from peerflow.testing.checker import check
from peerflow.testing.history import Entry
from peerflow.testing.records import RunRecord, read_run_over_http
from tests.chaos.campaign.arena import PLACES, Arena
from tests.chaos.campaign.nemesis import Nemesis
from tests.chaos.campaign.recovery import recoveries
from tests.chaos.campaign.traffic import Client, all_runs, wait_until_all_ended

CLIENTS, PAUSE_SECONDS = 2, 0.3
END_SECONDS = 60.0
"""How long runs may take when nothing is broken any more; the longest of them work for a few seconds, on a busy machine."""
DISTURBED = {"kill -9", "SIGTERM", "freeze", "cut off", "calls lost", "Redis slow"}
"""Faults of one pod after which it may lose what it runs (one that stops, where Redis is away and takes nothing back). A Redis that is
away, for however long, is none of them."""


@dataclass(slots=True)
class Tally:
    """What rounds add up to."""

    schedules: int = 0
    runs: int = 0
    tasks: int = 0
    attempts: int = 0
    lost: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    violations: list[str] = field(default_factory=list[str])
    recovered: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    def add(self, records: list[RunRecord], entries: list[Entry]) -> None:
        self.schedules += 1
        self.runs += len(records)
        self.tasks += sum(len(record.tasks) for record in records)
        self.attempts += sum(entry.phase == "attempt_started" for entry in entries)
        self.lost += sum(task.lost for record in records for task in record.tasks)
        self.faults.update(entry.text("kind") or "" for entry in entries if entry.phase == "fault")


def play(folder: Path, seed: int, seconds: float, tally: Tally, say: Callable[[str], None]) -> None:
    """Plays one round and adds what it was to the tally; the folder is kept where there is a violation."""
    source = random.Random(seed)
    ttl_seconds, graces = source.choice([2.0, 2.0, 5.0]), [source.choice([0.0, 1.0, 3.0]) for _ in range(PLACES)]
    arena = Arena(folder, ttl_seconds, graces)
    try:
        problems, clients = _under_way(arena, seed, seconds)
        arena.wait_until_ready()
        runs = sorted({*all_runs(arena), *(run_id for client in clients for run_id in client.runs)})
        problems += [f"L1: run {run_id} has not ended" for run_id in wait_until_all_ended(arena, runs, END_SECONDS)]
        records = [read_run_over_http(arena.get, run_id) for run_id in runs]
        entries = arena.history.entries()
        problems += [str(violation) for violation in check(arena.history, records)]
        problems += living_pods_lost(records, entries) + foreign_results(records)
        problems += [f"L5: a pod that was told to stop has not ended: {log}" for log in arena.unstopped()]
        tally.add(records, entries)
        tally.recovered.setdefault("kill -9 under other faults", []).extend(recoveries(entries, "kill -9"))
    finally:
        arena.close()
    tally.violations += [f"seed {seed}: {problem} (kept in {folder})" for problem in problems]
    if not problems:
        shutil.rmtree(folder)
    met = ", ".join(f"{kind} {count}" for kind, count in Counter(e.text("kind") for e in entries if e.phase == "fault").most_common())
    say(f"round {tally.schedules}: seed {seed}, TTL {ttl_seconds:g} s, {len(runs)} runs, {len(problems)} violations; {met}")


def _under_way(arena: Arena, seed: int, seconds: float) -> tuple[list[str], list[Client]]:
    """Traffic and faults; answers what went wrong with the clients themselves, and the clients."""
    nemesis = Nemesis(arena, seed)
    clients = [Client(arena, seed * 10 + number, PAUSE_SECONDS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            following = time.monotonic() + nemesis.step()
            while time.monotonic() < following:
                nemesis.mend()
                time.sleep(0.02)
    finally:
        nemesis.mend(everything=True)
        for client in clients:
            client.stop()
        for client in clients:
            client.join(90)
    return [f"client: {client.problem or 'has not ended'}" for client in clients if client.problem or client.is_alive()], clients


def living_pods_lost(records: list[RunRecord], entries: list[Entry]) -> list[str]:
    """S8: attempts that were taken from pods which nothing had been done to."""
    disturbed = {entry.text("pod_id") for entry in entries if entry.phase == "fault" and entry.text("kind") in DISTURBED}
    return [
        f"S8: task {event.task_id} of run {record.run.run_id} was taken from the living pod {event.pod}"
        for record in records
        for event in record.events
        if event.type == "task_lost" and event.pod not in disturbed
    ]


def foreign_results(records: list[RunRecord]) -> list[str]:
    """S2: results that another attempt made than the one that counts. The tasks of a campaign return which attempt they are."""
    return [
        f"S2: task {task.id} of run {record.run.run_id} has the result {task.result!r} of another attempt than its {task.attempts}th"
        for record in records
        for task in record.tasks
        if isinstance(task.result, str) and task.result.startswith("attempt ") and task.result != f"attempt {task.attempts}"
    ]
