"""The file of API keys: `{"keys": [{"name", "prefix", "sha256", "scopes", "tenant"?, "expires_at"?}]}`.

Everything that is wrong with it is told at once; a field that is not known is wrong too, because `expire_at` would never end a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from pydantic import JsonValue

from engine import strict_json
from engine.errors import ConfigError, DefinitionError
from peerflow.auth.api_key import PREFIX, START
from peerflow.auth.identity import DEFAULT_TENANT, SCOPES, TENANT_MUST_BE, Identity, Scope, is_tenant, tenant_of

LARGEST_BYTES: Final = 1024 * 1024
FIELDS: Final = ("name", "prefix", "sha256", "scopes", "tenant", "expires_at")
NAME: Final = re.compile(r"[A-Za-z0-9_.@:/-]{1,64}")
NAME_MUST_BE: Final = "1 to 64 characters of A-Z a-z 0-9 _ . @ : / -"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAKE_ONE: Final = "`peerflow keys new` writes entries"
_INSTANT: Final = "an instant with a time zone, such as 2027-01-31T00:00:00Z"
_LONGEST_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of a key."""

    name: str
    prefix: str
    sha256: bytes
    scopes: frozenset[Scope]
    tenant: str = DEFAULT_TENANT
    """`*` for all."""
    expires_at: datetime | None = None

    def identity(self) -> Identity:
        tenant, everywhere = tenant_of(self.tenant)
        return Identity(self.name, tenant, self.scopes, everywhere, self.expires_at.timestamp() if self.expires_at else None)

    def to_json(self) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {"name": self.name, "prefix": self.prefix, "sha256": self.sha256.hex()}
        found |= {"scopes": [scope.value for scope in Scope if scope in self.scopes], "tenant": self.tenant}
        return found if self.expires_at is None else {**found, "expires_at": self.expires_at.isoformat().replace("+00:00", "Z")}


def read(path: Path) -> list[Entry]:
    """The entries of a file. Raises ConfigError with everything that is wrong."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: {(error.strerror or str(error)).lower()}; {_MAKE_ONE}"]) from None
    if len(data) > LARGEST_BYTES:
        raise ConfigError([f"{path}: larger than {LARGEST_BYTES} bytes; a file of keys has a few hundred bytes for each"])
    return parse(data, str(path))


def parse(data: bytes, name: str) -> list[Entry]:
    """The entries of a file's content; `name` stands before each problem."""
    try:
        document = strict_json.parse(data)
    except DefinitionError as error:
        # Nothing of the text itself: a key may stand where it should not.
        raise ConfigError(
            [f"{name}: {shown(problem.pointer) or 'the file'}: {problem.code}; {_MAKE_ONE}" for problem in error.problems]
        ) from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(listed, list) or document.keys() != {"keys"}:
        raise ConfigError([f'{name}: the file must be {{"keys": [...]}} and nothing else; {_MAKE_ONE}'])
    problems: list[str] = []
    entries: list[Entry] = []
    for index, item in enumerate(listed):
        reading = _Reading(item, index)
        entry = reading.entry()
        problems += [f"{name}: {reading.place}: {problem}" for problem in reading.problems]
        if entry is not None:
            entries.append(entry)
    problems += [f"{name}: {problem}" for field in ("name", "prefix") for problem in _twice(entries, field)]
    if problems:
        raise ConfigError(problems)
    return entries


def _twice(entries: list[Entry], field: str) -> list[str]:
    values = [cast("str", getattr(entry, field)) for entry in entries]
    return [
        f"{field} {value!r} stands in {values.count(value)} entries; give each its own"
        for value in dict.fromkeys(values)
        if values.count(value) > 1
    ]


class _Reading:
    """One entry while it is looked at. Values are quoted back only where no secret can stand."""

    def __init__(self, item: JsonValue, index: int) -> None:
        self.problems: list[str] = []
        self._item: dict[str, JsonValue] = item if isinstance(item, dict) else {}
        name = self._item.get("name")
        named = isinstance(name, str) and NAME.fullmatch(name) and not name.startswith(START)
        self.place = f"keys[{index}] ({name})" if named else f"keys[{index}]"
        if not isinstance(item, dict):
            self.problems.append(f"must be an object; {_MAKE_ONE}")
        else:
            self.problems += [
                f"{shown(field)} is not a field of an entry; they are {', '.join(FIELDS)}" for field in item if field not in FIELDS
            ]

    def entry(self) -> Entry | None:
        """The entry; None where something is wrong."""
        name = self._text("name", NAME, NAME_MUST_BE)
        if name.startswith(START):
            self.problems.append("name looks like a key; take a name that says who holds it")
        prefix = self._text("prefix", PREFIX, f"the first 12 characters of the key, and no more; {_MAKE_ONE}")
        sha256 = self._text("sha256", _SHA256, f"64 lower-case hexadecimal digits, the SHA-256 of the key; {_MAKE_ONE}")
        scopes, tenant, expires_at = self._scopes(), self._tenant(), self._expires_at()
        if self.problems:
            return None
        return Entry(name, prefix, bytes.fromhex(sha256), scopes, tenant, expires_at)

    def _text(self, field: str, pattern: re.Pattern[str], must_be: str) -> str:
        value = self._item.get(field)
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        self.problems.append(f"{field} must be {must_be}")
        return ""

    def _scopes(self) -> frozenset[Scope]:
        value = self._item.get("scopes")
        try:
            scopes = frozenset(Scope(cast("str", item)) for item in value) if isinstance(value, list) else frozenset[Scope]()
        except ValueError:
            scopes = frozenset[Scope]()
        if not scopes:
            self.problems.append(f"scopes ({shown(value)}) must be a list of one or more of {SCOPES}")
        return scopes

    def _tenant(self) -> str:
        value = self._item.get("tenant", DEFAULT_TENANT)
        if isinstance(value, str) and is_tenant(value) and not value.startswith(START):
            return value
        self.problems.append(f"tenant ({shown(value)}) must be {TENANT_MUST_BE}")
        return ""

    def _expires_at(self) -> datetime | None:
        value = self._item.get("expires_at")
        if value is None:
            return None
        try:
            found = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            self.problems.append(f"expires_at ({shown(value)}) must be {_INSTANT}")
            return None
        return found


def shown(value: JsonValue) -> str:
    """A value of the file, on one line and cut; not where it may be a key."""
    text = value if isinstance(value, str) else strict_json.dumps(value)
    if START in text:
        return "***"
    printable = text if text.isprintable() else ascii(text)[1:-1]
    return printable if len(printable) <= _LONGEST_SHOWN else printable[:_LONGEST_SHOWN] + "…"
