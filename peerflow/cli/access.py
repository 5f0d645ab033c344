"""`access`: who did what to runs, as a table."""

from __future__ import annotations

from itertools import islice

from peerflow.cli.options import DEFAULT_URL, Json, Url, connect
from peerflow.cli.output import cell, instant, print_json, stderr, stdout, table
from peerflow.cli.queries import Limit, OfTenant


def access(tenant: OfTenant = None, limit: Limit = 100, json: Json = False, url: Url = DEFAULT_URL) -> None:
    """Show who submitted and cancelled runs, newest first."""
    with connect(url) as client:
        found = list(islice(client.access(tenant=tenant), limit + 1))
    shown, more = found[:limit], len(found) > limit
    if json:
        print_json([entry.model_dump(mode="json") for entry in shown])
        return
    rows = table("at", "caller", "tenant", "action", "run", "outcome", long=("caller",))
    for entry in shown:
        names = (cell(entry.caller, 60), cell(entry.tenant), cell(entry.action))
        rows.add_row(instant(entry.at), *names, cell(entry.run_id), cell(entry.outcome))
    stdout().print(rows if shown else "nothing was done by callers with names")
    if more:
        stderr().print(f"more entries exist than {limit}: --limit shows more")
