"""All keys of a partition: exactly as they are, to show that a call changed nothing; and in words, to show what it changed.

In words, run ids are R1, R2, … in the order of their creation, digests have names, claim ids say their operation and number. An instant
is `t` where it is the time of one of the test's calls, `t+2000` where it is 2,000 ms after one: whatever lies at any other time is shown
as it is, and so differs.
"""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import redis

Value = bytes | list[bytes] | dict[bytes, bytes] | list[tuple[bytes, float]]
Raw = dict[str, tuple[Value, int]]
"""Key without prefix → value, and when it goes away: ms since the epoch, -1 for never."""
Shown = dict[str, dict[str, str]]
"""Key without prefix → field, member or place in a list → text; a string is at `value`. A key that goes away has `(until)`."""

DUMP = """
local rows = {}
for i, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'string' then value = redis.call('GET', key)
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'stream' then
    value = {}
    for place, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do value[place] = table.concat(entry[2], ' ') end
  else value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES') end
  rows[i] = {key, kind, redis.call('PEXPIRETIME', key), value}
end
return rows
"""
UNPACK = "return cmsgpack.unpack(ARGV[1])"
LANE_BITS = 4398046511104
"""A lane's score is (100 - priority) times this, plus ms."""


def read_keys(client: redis.Redis, prefix: str) -> Raw:
    """Everything below the prefix, at one moment. `client` must not decode."""
    rows = cast("list[tuple[bytes, bytes, int, Any]]", client.eval(DUMP, 0, f"{prefix}*"))
    return {name.decode().removeprefix(prefix): (_value(kind, value), until) for name, kind, until, value in sorted(rows)}


def _value(kind: bytes, value: Any) -> Value:
    match kind:
        case b"hash":
            return dict(zip(value[::2], value[1::2], strict=True))
        case b"zset":
            return [(member, float(score)) for member, score in zip(value[::2], value[1::2], strict=True)]
        case _:
            return value


def changes(before: Shown, after: Shown) -> Shown:
    """What differs: `+new`, `-old`, `old → new`."""
    found: Shown = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key, {}), after.get(key, {})
        fields = {field: _change(old.get(field), new.get(field)) for field in old.keys() | new.keys() if old.get(field) != new.get(field)}
        if fields:
            found[key] = fields
    return found


def _change(old: str | None, new: str | None) -> str:
    if old is None:
        return f"+{new}"
    return f"-{old}" if new is None else f"{old} → {new}"


class Narrator:
    """Tells a raw dump in words."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.names: dict[str, str] = {}
        """Run id or digest → short name."""
        self.windows: list[tuple[int, int]] = []
        """Between which instants of the server's clock, in ms, the test's calls happened."""
        self.distances = [0, 2_000, 10_000, 60_000, 90_000, 120_000, 600_000, 3_600_000]
        """Ms between a call and an instant that it sets; the tests' retention is an hour, their TTL 10 s."""

    def shown(self, raw: Raw) -> Shown:
        created = {
            key.removeprefix("run:"): int(cast("dict[bytes, bytes]", value)[b"created"])
            for key, (value, _) in raw.items()
            if key.startswith("run:") and key.count(":") == 1
        }
        told: Shown = {}
        for key, (value, until) in raw.items():
            fields = self._fields(key, value, created)
            if until >= 0:
                fields["(until)"] = self.instant(until)
            told[self.named(key)] = fields
        return told

    def instant(self, at_ms: int) -> str:
        for distance in self.distances:
            if any(first <= at_ms - distance <= last for first, last in self.windows):
                return f"t+{distance}" if distance else "t"
        return f"?{at_ms}"

    def named(self, text: str) -> str:
        for long, name in self.names.items():
            text = text.replace(long, name)
        return re.sub(
            r"0{26}(\d{4})([0-9a-f]{2})?", lambda found: f"op{int(found[1])}" + (f".{int(found[2], 16)}" if found[2] else ""), text
        )

    def _fields(self, key: str, value: Value, created: Mapping[str, int]) -> dict[str, str]:
        match value:
            case bytes():
                return {"value": self._string(key, value)}
            case dict():
                base = created.get(key.partition(":")[2].split(":")[0], 0)
                kind = (key.count(":") == 1 and "run") or key.rpartition(":")[2]
                return {field.decode(): self._field(kind, field.decode(), text.decode(), base) for field, text in value.items()}
            case _ if key.endswith(":graph"):
                return {str(place): "a part of the definition" for place in range(1, len(value) + 1)}
            case _ if key.endswith(":events"):
                base = created.get(key.split(":")[1], 0)
                return {str(place): self._event(cast("bytes", line).decode(), base) for place, line in enumerate(value, 1)}
            case _ if key.endswith(":log"):
                return {str(place): self._piece(cast("bytes", piece).decode()) for place, piece in enumerate(value, 1)}
            case _ if key.startswith("waits:"):
                return {str(place): self._note(cast("bytes", line).decode()) for place, line in enumerate(value, 1)}
            case _ if key == "access":
                lines = [cast("bytes", line).decode().split(" ", 2) for line in value]
                return {str(place): f"{self.instant(int(at))} {self.named(rest)}" for place, (_, at, rest) in enumerate(lines, 1)}
            case _ if key.startswith("inbox:"):
                return {str(place): self.named(cast("bytes", line).decode()) for place, line in enumerate(value, 1)}
            case _:
                pairs = cast("list[tuple[bytes, float]]", value)
                return {self.named(member.decode()): self._score(key, int(score)) for member, score in pairs}

    def _string(self, key: str, value: bytes) -> str:
        if key.startswith("reply:"):
            return f"{self.named(value[:30].decode())} {self._answer(value[30:])}"
        return self.named(value.decode())

    def _answer(self, packed: bytes) -> str:
        def told(part: Any) -> str:
            return f"[{' '.join(map(told, cast('list[Any]', part)))}]" if isinstance(part, list) else self._claim(self._text(part))

        return told(cast("list[Any]", self._client.eval(UNPACK, 0, packed)))

    @staticmethod
    def _text(part: Any) -> str:
        return part.decode() if isinstance(part, bytes) else str(part)

    def _claim(self, text: str) -> str:
        words = self.named(text).split(" ")
        if len(words) == 10:
            words[8:] = [self._token(words[8]), self.instant(int(words[9]))]
        return f"({' '.join(words)})" if len(words) > 1 else words[0]

    def _score(self, key: str, score: int) -> str:
        if key == "lanes" or key.startswith("lane:"):
            return f"{100 - score // LANE_BITS} {self.instant(score % LANE_BITS)}"
        return self.instant(score)

    def _field(self, kind: str, field: str, text: str, base: int) -> str:
        if kind == "run" and field in {"created", "started", "finished"}:
            return self.instant(int(text))
        head, feed, payload = text.partition("\n")
        words = head.split(" ")
        if kind == "tasks":
            words[3:7] = [self._token(words[3]), *(self._offset(word, base) for word in words[4:7])]
        if kind == "attempts":
            words[1:3] = [self._offset(word, base) for word in words[1:3]]
            words[4:5] = [self._offset(word, base) for word in words[4:5]]
        return self.named(" ".join(words) + feed.replace("\n", " ") + payload)

    def _event(self, line: str, base: int) -> str:
        offset, rest = line.split(" ", 1)
        return f"{self._offset(offset, base)} {rest}"

    def _piece(self, piece: str) -> str:
        came, _, rest = piece.partition(" ")
        return f"{self.instant(int(came))} {rest}"

    def _note(self, line: str) -> str:
        code, *instants = line.split(" ")
        return " ".join([code, *(self.instant(int(instant)) for instant in instants)])

    def _offset(self, word: str, base: int) -> str:
        return word if word == "-" else self.instant(base + int(word))

    def _token(self, word: str) -> str:
        return "T" if self.instant(int(word) // 1000) == "t" else word
