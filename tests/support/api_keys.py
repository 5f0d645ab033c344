"""API keys for tests: made, and written into a file as an operator's tool would."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from peerflow.auth.api_key import digest_of, new_key, prefix_of
from peerflow.auth.identity import DEFAULT_TENANT, Scope
from peerflow.auth.key_file import Entry

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
SOME_DAY = datetime(2100, 1, 1, tzinfo=UTC)


def entry_of(key: str, name: str, *scopes: Scope, tenant: str = DEFAULT_TENANT, expires_at: datetime | None = None) -> Entry:
    return Entry(name, prefix_of(key), digest_of(key), frozenset(scopes), tenant, expires_at)


def new_entry(name: str, *scopes: Scope, tenant: str = DEFAULT_TENANT, expires_at: datetime | None = None) -> tuple[str, Entry]:
    """A new key, and what is kept of it."""
    key = new_key()
    return key, entry_of(key, name, *scopes, tenant=tenant, expires_at=expires_at)


def write_keys(path: Path, *entries: Entry) -> Path:
    path.write_text(json.dumps({"keys": [entry.to_json() for entry in entries]}))
    return path


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
