"""Whether the server lets this user do all that a pod asks for, before a script could stop half way for want of a right."""

from __future__ import annotations

from typing import cast

from engine.errors import StorageRefused
from storage.acl import COMMANDS, trials
from storage.connection import ACL_REMEDY, translated
from storage.keys import Keys
from storage.scripts import AsyncClient, call


async def check_rights(client: AsyncClient, address: str, keys: Keys) -> None:
    """Raises StorageRefused with every command that is missing. One call, which changes nothing."""
    with translated(address):
        _, refused = await call(client, "rights", keys.prefix, *trials())
    if refused:
        names = ", ".join(COMMANDS[number - 1].replace("|", " ").upper() for number in cast("list[int]", refused))
        raise StorageRefused(f"the user that peerflow has at {address} may not do {names} on keys {keys.prefix}*; {ACL_REMEDY}")
