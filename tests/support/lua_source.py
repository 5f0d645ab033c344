"""The Lua of storage/, read as text: headers, functions, calls, keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from storage.scripts import LUA, NAMES

LIB = LUA / "lib"
WRITES = frozenset(
    "DEL EXPIRE HDEL HINCRBY HSET INCR LPOP LPUSH PERSIST PEXPIRE RPUSH SADD SET SREM UNLINK XADD ZADD ZINCRBY ZPOPMAX ZPOPMIN ZREM "
    "ZREMRANGEBYRANK ZREMRANGEBYSCORE".split()
)
READS = frozenset(
    "EXISTS GET HEXISTS HGET HGETALL HLEN HMGET LLEN LRANGE PTTL SMEMBERS TIME TTL TYPE ZCARD ZCOUNT ZMSCORE ZRANGE ZRANGEBYSCORE ZREVRANGE ZSCORE".split()
)


@dataclass(frozen=True)
class Source:
    """A script or a shared part."""

    path: Path
    header: str
    """The comment at its top, without dashes."""
    code: str
    """Everything else, without comments."""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def functions(self) -> dict[str, str]:
        """Name → body of each function at top level."""
        found = re.finditer(r"^(?:local )?function ([\w.]+)\(.*?(?:\) end$|^end$)", self.code, re.MULTILINE | re.DOTALL)
        return {match[1]: match[0] for match in found}

    @property
    def uses(self) -> list[str]:
        found = re.search(r"^USES (.+)$", self.header, re.MULTILINE)
        return found[1].split() if found else []


@cache
def read(path: Path) -> Source:
    lines = path.read_text(encoding="utf-8").splitlines()
    code_at = next(number for number, line in enumerate(lines) if not line.startswith(("--", "#!")))
    header = "\n".join(line.lstrip("-# ") for line in lines[:code_at])
    code = "\n".join(re.sub(r"\s*--.*$", "", line) for line in lines[code_at:])
    return Source(path, header, code)


def scripts() -> list[Source]:
    return [read(LUA / f"{name}.lua") for name in NAMES]


def parts() -> list[Source]:
    return [read(path) for path in sorted(LIB.glob("*.lua"))]


def calls(code: str) -> list[str]:
    """Redis commands in the order of the text."""
    return re.findall(r"redis\.p?call\('(\w+)'", code)


@cache
def shared_functions() -> dict[str, tuple[str, str]]:
    """Name of each function of the shared parts → part, body."""
    return {name: (part.name, body) for part in parts() for name, body in part.functions.items()}


def reached(code: str) -> set[str]:
    """Shared functions that this code calls, and those that they call."""
    found: set[str] = set()
    waiting = [code]
    while waiting:
        text = waiting.pop()
        for name, (_, body) in shared_functions().items():
            if name not in found and re.search(rf"(?<![\w.]){name}\b", text):
                found.add(name)
                waiting.append(body)
    return found


def key_names(code: str) -> set[str]:
    """`runs`, `lease:`, `run::tasks`, … for every key that this code builds."""
    plain = set(re.findall(r"T \.\. '([a-z]+:?)'", code))
    suffixes = set(re.findall(r"\bkey \.\. '(:[a-z]+)'", code)) | set(re.findall(r"'(:(?:tasks|edges|events|attempts|graph))'", code))
    return plain | {f"run:{suffix}" for suffix in suffixes}


def documented_keys(header: str) -> set[str]:
    """The same for what a header lists."""
    start = header.index("KEYS[1] prefix")
    listed = header[start : header.index("ARGV[1", start)]
    if "all keys of claim" in listed:
        listed += documented_text(read(LUA / "claim.lua").header)
    words = re.findall(r"(?<![\w:>/])([a-z]+(?::<[a-z]+>(?::[a-z]+)?)?)(?=[ ,.(]|:<|$)", listed)
    return {re.sub(r"<[a-z]+>", "", word) for word in words}


def documented_text(header: str) -> str:
    start = header.index("KEYS[1] prefix")
    return header[start : header.index("ARGV[1", start)]
