"""The Lua of storage/, read as text: headers, functions, calls, keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from storage import keys
from storage.scripts import LUA, NAMES

LIB = LUA / "lib"
KEYS = frozenset(
    name for line in (keys.__doc__ or "").splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line.split("|")[1])
)
"""The names in the table of storage/keys.py."""
WRITES = frozenset(
    [
        "DEL",
        "EXPIRE",
        "HDEL",
        "HINCRBY",
        "HSET",
        "INCR",
        "LPOP",
        "LPUSH",
        "LSET",
        "LTRIM",
        "PERSIST",
        "PEXPIRE",
        "RPUSH",
        "SADD",
        "SET",
        "SREM",
        "UNLINK",
        "XADD",
        "ZADD",
        "ZINCRBY",
        "ZPOPMAX",
        "ZPOPMIN",
        "ZREM",
        "ZREMRANGEBYRANK",
        "ZREMRANGEBYSCORE",
    ]
)
READS = frozenset(
    [
        "EXISTS",
        "GET",
        "HEXISTS",
        "HGET",
        "HLEN",
        "HMGET",
        "LINDEX",
        "LLEN",
        "LRANGE",
        "PTTL",
        "TIME",
        "TTL",
        "TYPE",
        "ZCARD",
        "ZCOUNT",
        "ZMSCORE",
        "ZRANGE",
        "ZRANGEBYSCORE",
        "ZREVRANGE",
        "ZSCORE",
    ]
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
        """Name → text of each function at top level."""
        found: dict[str, str] = {}
        name = ""
        for line in self.code.splitlines():
            opened = re.match(r"(?:local )?function ([\w.]+)\(", line)
            if opened:
                name = opened[1]
            if name:
                found[name] = found.get(name, "") + line + "\n"
            if line == "end" or (opened and line.endswith(" end")):
                name = ""
        return found

    @property
    def main(self) -> str:
        """What is not in a function."""
        text = self.code
        for function in self.functions.values():
            text = text.replace(function, "")
        return text

    @property
    def uses(self) -> list[str]:
        found = re.search(r"^USES (.+)$", self.header, re.MULTILINE)
        return found[1].split() if found else []


@cache
def read(path: Path) -> Source:
    lines = path.read_text(encoding="utf-8").splitlines()
    code_at = next(number for number, line in enumerate(lines) if not line.startswith(("--", "#!")))
    header = "\n".join(line.lstrip("-# ") for line in lines[:code_at])
    code = "\n".join(re.sub(r"\s*--.*$", "", line) for line in [*lines[code_at:], ""])
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
    """The keys that this code builds, as the table in storage/keys.py names them."""
    prefixes = {name.split("<")[0]: name for name in KEYS if name.count("<") == 1 and ":" not in name.split(">")[1]}
    prefixes["lane:"] = "lane:<queue>/<function>"
    plain = set(re.findall(r"T \.\. '([a-z]+:?)'", code))
    suffixes = set(re.findall(r"\bkey \.\. '(:[a-z]+)'", code))
    suffixes |= set(re.findall(r"'(:(?:tasks|edges|events|attempts|effects|graph))'", code))
    assert plain <= prefixes.keys() | KEYS, f"in no table: {plain - prefixes.keys() - KEYS}"
    return {prefixes.get(name, name) for name in plain} | {f"run:<id>{suffix}" for suffix in suffixes}


def keys_of(source: Source) -> tuple[set[str], set[str]]:
    """The keys that a script touches, and those that it might: what writes a book writes every kind of change, whichever it makes."""
    direct, shared = key_names(source.code), set[str]()
    for name in reached(source.code):
        (shared if shared_functions()[name][0] == "book" else direct).update(key_names(shared_functions()[name][1]))
    return direct, direct | shared


def documented_keys(source: Source) -> set[str]:
    """The keys that a script's header lists."""
    start = source.header.index("KEYS[1] prefix")
    listed = source.header[start : re.search(r"^(ARGV|Members)", source.header, re.MULTILINE).start()]  # pyright: ignore[reportOptionalMemberAccess]
    found = {name for name in KEYS if re.search(rf"(?<![\w:]){re.escape(name)}(?![\w:])", listed)}
    return found | (documented_keys(read(LUA / "claim.lua")) if "all keys of claim" in listed else set())


def words_of(source: Source) -> tuple[set[str], set[str]]:
    """The words with which a script answers, and those that its header names."""
    told = set(re.findall(r"return \{'([A-Z]+)'", source.code)) | set(re.findall(r"return '([A-Z]+)'", source.code))
    start = source.header.index("RETURNS")
    return told, set(re.findall(r"\b[A-Z]{2,}\b", source.header[start:])) - {"RETURNS"}


def arguments_of(source: Source) -> tuple[int, bool]:
    """How many arguments the header names, and whether more may follow."""
    ranges = [(int(first), last) for first, last in re.findall(r"ARGV\[(\d+)(\.\.\d*)?\]", source.header)]
    highest = max(max(first, int(last.strip(".") or 0)) for first, last in ranges)
    return highest, any(last == ".." for _, last in ranges) or "each" in source.header
