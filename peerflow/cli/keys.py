"""`keys new` and `keys list`: the file of API keys that pods read. A key itself is shown once, when it is made."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from engine.errors import ConfigError
from peerflow.auth import key_file, key_writing
from peerflow.auth.api_key import digest_of, new_key, prefix_of
from peerflow.auth.identity import DEFAULT_TENANT, SCOPES, TENANT_MUST_BE, Scope, is_tenant
from peerflow.auth.key_file import NAME, NAME_MUST_BE, Entry
from peerflow.cli.options import Json
from peerflow.cli.output import cell, instant, print_json, stderr, stdout, table

UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
LONGEST_DAYS: Final = 36_500

File = Annotated[Path, typer.Option("--file", envvar="PEERFLOW_API_KEYS_FILE", metavar="FILE", help="The file that pods read.")]
Name = Annotated[str, typer.Option("--name", help="Who gets the key; stands in logs and in `keys list`.")]
Scopes = Annotated[str, typer.Option("--scopes", metavar="SCOPE[,SCOPE…]", help=f"What it may do: {SCOPES}.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose runs it starts and sees; * sees those of all tenants.")]
Expires = Annotated[str | None, typer.Option("--expires", metavar="90d", help="Ends after so many m, h, d or w, or at an instant.")]

app = typer.Typer(help="Make and list API keys.", no_args_is_help=True)


@app.command()
def new(name: Name, scopes: Scopes, file: File, tenant: Tenant = DEFAULT_TENANT, expires: Expires = None, json: Json = False) -> None:
    """Make a key, add it to the file, and print it: this once, because the file holds only its SHA-256."""
    problems: list[str] = []
    if not NAME.fullmatch(name):
        problems.append(f"--name ({name}) must be {NAME_MUST_BE}")
    chosen = _scopes(scopes, problems)
    if not is_tenant(tenant):
        problems.append(f"--tenant ({tenant}) must be {TENANT_MUST_BE}")
    expires_at = _instant(expires, datetime.now(UTC), problems) if expires is not None else None
    if problems:
        raise ConfigError(problems)
    key = new_key()
    entry = Entry(name, prefix_of(key), digest_of(key), chosen, tenant, expires_at)
    key_writing.add(file, entry)
    if json:
        print_json({"key": key, **entry.to_json()})
        return
    sys.stdout.write(f"{key}\n")
    stderr().print(Text(f"added to {file}: running pods know it within seconds. It is not shown again.", style="dim"))


@app.command("list")
def list_keys(file: File, json: Json = False) -> None:
    """List the keys of a file: what each may do, and until when."""
    entries = key_file.read(file)
    if json:
        print_json([entry.to_json() for entry in entries])
        return
    rows = table("prefix", "name", "scopes", "tenant", "expires", long=("name",))
    now = datetime.now(UTC)
    for entry in entries:
        ended = entry.expires_at is not None and entry.expires_at <= now
        until = cell(f"{instant(entry.expires_at)}{' (expired)' if ended else ''}", style="red" if ended else "")
        rows.add_row(entry.prefix, cell(entry.name), ",".join(scope for scope in Scope if scope in entry.scopes), cell(entry.tenant), until)
    stdout().print(rows if entries else "no keys")


def _scopes(text: str, problems: list[str]) -> frozenset[Scope]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or any(word not in set(Scope) for word in words):
        problems.append(f"--scopes ({text}) must be one or more of {SCOPES}, separated by commas")
        return frozenset()
    return frozenset(map(Scope, words))


def _instant(text: str, now: datetime, problems: list[str]) -> datetime | None:
    """`90d` from now, or an instant with a time zone; to the second, and in the future."""
    amount = re.fullmatch(r"(\d{1,7})([mhdw])", text)
    try:
        found = now + min(int(amount[1]) * UNITS[amount[2]], timedelta(days=LONGEST_DAYS)) if amount else datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or found <= now:
        problems.append(f"--expires ({text}) must be a time from now such as 90d or 12h, or an instant such as 2027-01-31T00:00:00Z")
        return None
    return found.astimezone(UTC).replace(microsecond=0)
