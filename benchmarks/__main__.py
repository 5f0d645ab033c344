"""`python -m benchmarks`: measures, and prints one table."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks import creation, fan_out, hop, idle, longest_call, memory, small_workflows
from benchmarks.figures import Figure
from benchmarks.lab import Lab, lab
from benchmarks.server import server
from benchmarks.table import table

if sys.platform == "win32":
    from asyncio import new_event_loop
else:
    from uvloop import new_event_loop

MEASUREMENTS: dict[str, Callable[[Lab], Awaitable[list[Figure]]]] = {
    "hop": hop.measure,
    "fan-out": fan_out.measure,
    "small-workflows": small_workflows.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "creation": creation.measure,
    "longest-call": longest_call.measure,
}


def main() -> int:
    options = _options()
    with server(options.redis_url) as url, asyncio.Runner(loop_factory=new_event_loop) as runner:
        conditions, figures = runner.run(_measure(url, options.only or list(MEASUREMENTS), options.repeat))
    print("\n".join(f"{name}: {value}" for name, value in conditions.items()))
    print()
    print(table(figures))
    if options.json is not None:
        report = {"conditions": conditions, "figures": [figure.to_json() for figure in figures]}
        options.json.write_text(json.dumps(report, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure one pod on this machine and print one table.")
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=f"one of {', '.join(MEASUREMENTS)}; may be repeated"
    )
    parser.add_argument("--repeat", type=_positive, default=5, metavar="N", help="repetitions of each measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every value there")
    parser.add_argument(
        "--redis-url", metavar="URL", help="a server to measure on, in a namespace of its own (default: an embedded Valkey)"
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


async def _measure(url: str, names: Sequence[str], repeat: int) -> tuple[dict[str, str], list[Figure]]:
    figures: list[Figure] = []
    async with lab(url, repeat) as bench:
        place = "a unix socket" if url.startswith("unix") else "TCP"
        conditions = {
            "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}; load {os.getloadavg()[0]:.1f} at the start",
            "server": f"{bench.info.flavour} {bench.info.version}, {bench.info.persistence}, over {place}",
            "python": f"{platform.python_version()}, redis-py {version('redis')}, hiredis {version('hiredis')}",
            "method": f"one pod (`peerflow serve`, default settings), median [min–max] of {repeat}; reference before each repetition",
        }
        for name in names:
            print(f"{name} …", file=sys.stderr, flush=True)
            figures += await MEASUREMENTS[name](bench)
    return conditions, figures


if __name__ == "__main__":
    sys.exit(main())
