"""`doctor`: would a pod with these settings work? It asks Redis itself, since no pod may be up yet."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.text import Text

from engine.errors import ConfigError, PeerflowError, StorageError, StorageRefused
from peerflow.cli import doctor_access
from peerflow.cli.check import Check, Verdict
from peerflow.cli.errors import NOT_SUCCEEDED, SUCCESS
from peerflow.cli.options import DEFAULT_URL, Json, Url, connect
from peerflow.cli.output import cell, own_version, print_json, stdout, table
from peerflow.client import PodUnreachable
from peerflow.settings import Settings
from storage.embedded import EmbeddedValkey
from storage.flaws import flaw_of
from storage.store import Store
from storage.views import ServerInfo

RedisUrl = Annotated[str | None, typer.Option("--redis-url", metavar="URL", help="Redis or Valkey to check instead of PEERFLOW_REDIS_URL.")]

MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "note": ("note", "dim"),
    "warning": ("warning", "yellow"),
    "problem": ("problem", "bold red"),
}

# The oldest servers with all commands and script flags that the scripts use.
OLDEST = {"redis": (7, 0), "valkey": (8, 0)}
# A round trip above this makes each hop of a chain slow; above a sixth of the lease, heartbeats are at risk.
SLOW_MS = 20.0
# Deadlines come from the server's clock alone; a difference only makes times in lists look odd.
CLOCK_MS = 1000.0


def doctor(redis_url: RedisUrl = None, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Check Redis and the settings of a pod on this machine."""
    settings = Settings.load({"redis_url": redis_url})
    checks = [_python(), *_redis(settings), *(Check("settings", "warning", text) for text in settings.warnings())]
    checks += [*doctor_access.access(settings), _pod(url), *doctor_access.own_key(url)]
    if json:
        effective: list[JsonValue] = [{"name": item.name, "value": item.value, "source": item.source} for item in settings.effective()]
        lines: list[JsonValue] = [
            {"subject": check.subject, "verdict": check.verdict, "found": check.found, "remedy": check.remedy} for check in checks
        ]
        print_json({"checks": lines, "settings": effective})
    else:
        _print(checks, settings)
    raise typer.Exit(NOT_SUCCEEDED if any(check.verdict == "problem" for check in checks) else SUCCESS)


def judge(info: ServerInfo, lease_ttl_seconds: float) -> list[Check]:
    """What a server's own words mean for peerflow."""
    return [
        _version(info),
        _persistence(info.persistence),
        _eviction(info.maxmemory_policy),
        _latency(info.latency_ms, lease_ttl_seconds),
        _clock(info.clock_offset_ms),
    ]


def _version(info: ServerInfo) -> Check:
    found = f"{info.flavour} {info.version}"
    numbers = tuple(int(number) for number in re.findall(r"\d+", info.version)[:2])
    if numbers >= OLDEST[info.flavour]:
        flaw = flaw_of(info.flavour, info.version)
        return Check("server", "warning", found, flaw) if flaw else Check("server", "ok", found)
    return Check("server", "problem", found, "peerflow needs Redis 7.0 or Valkey 8.0, or newer")


def _persistence(found: str) -> Check:
    match found:
        case "aof-always" | "aof-everysec":
            return Check("persistence", "ok", found)
        # A managed server, or an ACL user without CONFIG GET, as peerflow's should be.
        case "aof-unknown":
            return Check("persistence", "note", found, "could not be checked; appendfsync must be everysec or always")
        case "aof-no" | "snapshot":
            remedy = "a crash can lose minutes; CONFIG SET appendonly yes and appendfsync everysec bound it to a second"
        case _:
            remedy = "a restart of the server loses all runs; CONFIG SET appendonly yes"
    return Check("persistence", "warning", found, remedy)


def _eviction(policy: str) -> Check:
    if policy == "noeviction":
        return Check("eviction", "ok", policy)
    if policy == "unknown":
        return Check("eviction", "warning", policy, "the server does not tell; maxmemory-policy must be noeviction")
    return Check("eviction", "problem", policy, "CONFIG SET maxmemory-policy noeviction: any other policy deletes runs and leases")


def _latency(latency_ms: float, lease_ttl_seconds: float) -> Check:
    found = f"{latency_ms:.2f} ms for a round trip"
    if latency_ms > lease_ttl_seconds * 1000 / 6:
        return Check("latency", "problem", found, f"heartbeats need it below a sixth of PEERFLOW_LEASE_TTL_SECONDS ({lease_ttl_seconds:g})")
    if latency_ms > SLOW_MS:
        return Check("latency", "warning", found, "each hop along a chain of tasks costs one round trip; move the server nearer")
    return Check("latency", "ok", found)


def _clock(offset_ms: float) -> Check:
    found = f"{offset_ms:+.0f} ms against this machine"
    if abs(offset_ms) < CLOCK_MS:
        return Check("clock", "ok", found)
    return Check("clock", "warning", found, "set both by NTP; nothing breaks, times in lists look odd")


def limbo(repairs: int) -> Check:
    """Pods repair runs that could not go on; in a server that forgets nothing they never have to."""
    if not repairs:
        return Check("limbo", "ok", "no run had to be repaired")
    remedy = (
        "the server has forgotten something: look for a failover, a restored copy or another eviction policy, and for task_repaired events"
    )
    return Check("limbo", "warning", f"{repairs} repairs of runs that could not go on", remedy)


def _redis(settings: Settings) -> list[Check]:
    try:
        address, info, refusals, repairs = asyncio.run(_ask(settings))
    except StorageRefused as error:
        return [Check("redis", "problem", str(error), "correct PEERFLOW_REDIS_URL, or what the server lets its user do")]
    except StorageError as error:
        return [Check("redis", "problem", str(error), "start the server, or set PEERFLOW_REDIS_URL")]
    except ConfigError as error:
        return [Check("redis", "problem", problem) for problem in error.problems]
    found = [Check("redis", "ok", address), *judge(info, settings.lease_ttl_seconds), limbo(repairs)]
    return [*found, *(Check("data", "problem", text) for text in refusals)]


async def _ask(settings: Settings) -> tuple[str, ServerInfo, list[str], int]:
    """The server's address without a password, what it says of itself, why a pod would still refuse it, and how often runs were repaired.

    Joins the embedded one where no URL is set, as a pod would.
    """
    embedded = None if settings.redis_url else await asyncio.to_thread(EmbeddedValkey.join, settings.data_dir)
    try:
        url = embedded.url if embedded else settings.redis_url.get_secret_value() if settings.redis_url else ""
        store = Store(url, partitions=settings.partitions, namespace=settings.namespace)
        try:
            info = await store.check()
            refusals, repairs = await _refusals(store, info), await store.limbo_repairs()
        finally:
            await store.close()
    finally:
        if embedded is not None:
            embedded.leave()
    return (f"embedded Valkey in {settings.data_dir}" if embedded else store.address), info, refusals, repairs


async def _refusals(store: Store, info: ServerInfo) -> list[str]:
    """What a pod would refuse besides the version and the policy, which `judge` speaks of."""
    if any(check.verdict == "problem" for check in (_version(info), _eviction(info.maxmemory_policy))):
        return []
    try:
        await store.prepare()
    except ConfigError as error:
        return error.problems
    return []


def _python() -> Check:
    return Check("peerflow", "ok", f"{own_version()} on Python {sys.version.split()[0]}, {sys.platform}")


def _pod(url: str) -> Check:
    """Whether a pod answers; none is no problem, because doctor is for before it, too."""
    try:
        with connect(url) as client:
            readiness = client.readiness()
    except PodUnreachable as error:
        return Check("pod", "note", str(error))
    except PeerflowError as error:
        return Check("pod", "warning", str(error))
    if readiness.ready:
        return Check("pod", "ok", f"{url} is ready")
    return Check("pod", "warning", f"{url} is not ready: {readiness.reason}")


def _print(checks: list[Check], settings: Settings) -> None:
    console = stdout()
    for check in checks:
        mark, style = MARKS[check.verdict]
        console.print(Text.assemble((f"{mark:8}", style), f"{check.subject:12}", cell(check.found)), soft_wrap=True)
        if check.remedy:
            console.print(Text(f"{'':20}→ {check.remedy}", style=style), soft_wrap=True)
    rows = table("setting", "value", "source", long=("value",))
    for item in settings.effective():
        rows.add_row(item.name, cell(item.value), Text(item.source, style="dim" if item.source == "default" else "bold"))
    console.print(rows)
