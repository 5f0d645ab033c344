"""python -m tests.chaos.campaign [--minutes N] [--seed N] [--report FILE]

Exit status 1 on any violation, and where a recovery time misses its target. A seed gives the same faults with the same parameters; when
they meet what, the machine decides, so a schedule may have to be replayed a few times.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign.measure import measure
from tests.chaos.campaign.report import missed, table
from tests.chaos.campaign.round import Tally, play

ROUND_SECONDS = 25.0
"""Of traffic and faults; what follows until the last run has ended comes on top."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("CHAOS_MINUTES", "5")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**9)))
    parser.add_argument("--report", type=Path, help="write the table to this file too")
    options = parser.parse_args()
    seed, minutes = int(options.seed), float(options.minutes)
    print(f"CHAOS_SEED={seed} CHAOS_MINUTES={minutes:g}", flush=True)
    started, folder, tally = time.monotonic(), Path(tempfile.mkdtemp(prefix="peerflow-chaos-")), Tally()
    # A third of the time for recovery alone: a kill with a lease of 10 s takes 12 s.
    kills = max(1, int(minutes * 60 / 3 / 2 / 12))
    measure(folder / "ttl-2", 2.0, 2 * kills, 2 * kills, tally, say)
    measure(folder / "ttl-10", 10.0, kills, kills, tally, say)
    source = random.Random(seed)
    while tally.schedules < 3 or time.monotonic() - started + ROUND_SECONDS < minutes * 60:
        round_seed = source.randrange(10**9)
        play(folder / str(round_seed), round_seed, ROUND_SECONDS, tally, say)
    text = table(tally, seed=seed, minutes=minutes, seconds=time.monotonic() - started)
    print("\n" + text)
    if options.report:
        Path(options.report).write_text(text, encoding="utf-8")
    problems = tally.violations + missed(tally)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not tally.violations:
        shutil.rmtree(folder)
    return 1 if problems else 0


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
