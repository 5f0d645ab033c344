"""The one table of a campaign, as markdown that reads well in a terminal too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos.campaign.recovery import Times
from tests.chaos.campaign.round import Tally

STOP_TARGET_SECONDS = 1.0
KILL_TARGET_SECONDS = 1.0
"""On top of the lease time."""


def target_of(what: str) -> float | None:
    """Seconds that 99 of 100 orphans must not exceed; None where other faults may come in between."""
    kind, _, ttl = what.partition(", TTL ")
    if not ttl:
        return None
    return STOP_TARGET_SECONDS if kind == "SIGTERM" else float(ttl.removesuffix(" s")) + KILL_TARGET_SECONDS


def missed(tally: Tally) -> list[str]:
    """Targets that were not reached, or not measured."""
    found: list[str] = []
    for what, seconds in tally.recovered.items():
        target = target_of(what)
        if target is None:
            continue
        if not seconds:
            found.append(f"{what}: nothing was measured")
        elif (p99 := Times(tuple(sorted(seconds))).at(0.99)) > target:
            found.append(f"{what}: p99 is {p99:.2f} s, the target {target:g} s")
    return found


def table(tally: Tally, *, seed: int, minutes: float, seconds: float) -> str:
    return "\n".join(_lines(tally, seed, minutes, seconds)) + "\n"


def _lines(tally: Tally, seed: int, minutes: float, seconds: float) -> Iterator[str]:
    yield from _aligned(
        ["what", "how many"],
        [
            ["schedules: rounds, and two that measure recovery", f"{tally.schedules:,}"],
            ["runs accepted", f"{tally.runs:,}"],
            ["tasks · attempts started · attempts lost", f"{tally.tasks:,} · {tally.attempts:,} · {tally.lost:,}"],
            *([f"fault: {kind}", f"{count:,}"] for kind, count in tally.faults.most_common()),
            ["faults, all kinds", f"{tally.faults.total():,}"],
            ["**violations**", f"**{len(tally.violations)}**"],
        ],
    )
    yield ""
    rows: list[list[str]] = []
    for what, unsorted in tally.recovered.items():
        target = target_of(what)
        times = Times(tuple(sorted(unsorted)))
        figures = [f"{value:.2f} s" for value in (times.at(0.5), times.at(0.99), times.seconds[-1])] if unsorted else ["–"] * 3
        rows.append([what, f"{len(unsorted):,}", *figures, "–" if target is None else f"≤ {target:g} s"])
    yield from _aligned(["from fault to the orphan's next attempt", "orphans", "p50", "p99", "longest", "target for p99"], rows)
    yield ""
    yield f"Seed {seed}, {minutes:g} minutes asked for, {seconds / 60:.1f} used: `CHAOS_SEED={seed} CHAOS_MINUTES={minutes:g} make chaos`."


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        yield "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
