"""Published flaws of servers that let whoever may use them run code on their machine.

Only what the makers' own notes name, with the version of each line that mends it. A line without one was given up before: only a newer
line helps. It is a reminder, no scanner: whoever runs a server follows its maker's notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Line = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Flaw:
    names: str
    flavour: Literal["redis", "valkey"]
    mended: dict[Line, int]
    """Line (8, 2) → the first patch of it without the flaw. Newer lines never had it."""

    def hits(self, version: tuple[int, int, int]) -> bool:
        line, patch = version[:2], version[2]
        return line <= max(self.mended) and patch < self.mended.get(line, patch + 1)


FLAWS = (
    Flaw("CVE-2025-49844, CVE-2025-46817, CVE-2025-46818, CVE-2025-46819", "redis", {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2}),
    Flaw("CVE-2025-49844, CVE-2025-46817, CVE-2025-46818, CVE-2025-46819", "valkey", {(8, 0): 6, (8, 1): 4}),
    Flaw("CVE-2026-23479, CVE-2026-25243, CVE-2026-23631", "valkey", {(8, 0): 9, (8, 1): 7, (9, 0): 4}),
    Flaw("CVE-2026-12087", "redis", {(7, 2): 15, (7, 4): 10, (8, 2): 8, (8, 4): 5, (8, 6): 5, (8, 8): 1}),
    Flaw("CVE-2026-56684, CVE-2026-63639", "valkey", {(8, 0): 10, (8, 1): 9, (9, 0): 5, (9, 1): 1}),
)


def flaw_of(flavour: str, version: str) -> str:
    """What to say of a server that has one of them, with the remedy; empty where none is known, or the version is no number."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if len(numbers) < 3:
        return ""
    found = [flaw for flaw in FLAWS if flaw.flavour == flavour and flaw.hits((numbers[0], numbers[1], numbers[2]))]
    if not found:
        return ""
    line = (numbers[0], numbers[1])
    patch = max(flaw.mended.get(line, -1) for flaw in found)
    given_up = any(line not in flaw.mended for flaw in found)
    newest = max((*at, flaw.mended[at]) for flaw in found for at in flaw.mended)
    better = newest if given_up else (*line, patch)
    return (
        f"{flavour} {version} has published flaws through which whoever may use it can run code on its machine "
        f"({'; '.join(flaw.names for flaw in found)}): upgrade to {'.'.join(map(str, better))} or newer"
    )
