"""The table that is printed: plain text in Markdown's form, so that it can be pasted into a page."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.figures import Figure, Target

HEAD = ("figure", "reached", "reference", "ratio", "target", "met?")


def table(figures: Sequence[Figure]) -> str:
    """One line a figure, columns aligned; notes below, numbered."""
    notes: list[str] = []
    rows = [HEAD, *(_row(figure, notes) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join([*lines, *([""] if notes else []), *notes])


def number(value: float) -> str:
    """Three significant digits, thousands apart: `0.527`, `12.3`, `5,430`."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def spread(values: Sequence[float]) -> str:
    """`median [min–max]`, or the one value."""
    middle = number(median(values))
    return middle if len(values) == 1 else f"{middle} [{number(min(values))}–{number(max(values))}]"


def _row(figure: Figure, notes: list[str]) -> tuple[str, ...]:
    name = figure.name
    if figure.note:
        notes.append(f"({len(notes) + 1}) {figure.note}")
        name += f" ({len(notes)})"
    return (
        name,
        f"{spread(figure.reached)} {figure.unit}",
        spread(figure.reference) if figure.reference else "–",
        "–" if figure.ratio is None else f"{number(figure.ratio)} ×",
        "–" if figure.target is None else _aim(figure.target),
        "–" if figure.met is None else "yes" if figure.met else "no",
    )


def _aim(target: Target) -> str:
    return f"{'≤' if target.kind == 'at most' else '≥'} {target.bound:,g}{' ×' if target.of == 'ratio' else ''}"
