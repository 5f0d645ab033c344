"""Whose a run is: a run's tenant never changes, so a pod asks once and remembers."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

REMEMBERED: Final = 10_000
"""Runs; about 200 bytes each."""


class Owners:
    """Run id → tenant, the most recently used ones."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._tenants: OrderedDict[str, str] = OrderedDict()

    def get(self, run_id: str) -> str | None:
        tenant = self._tenants.get(run_id)
        if tenant is not None:
            self._tenants.move_to_end(run_id)
        return tenant

    def put(self, run_id: str, tenant: str) -> None:
        self._tenants[run_id] = tenant
        self._tenants.move_to_end(run_id)
        if len(self._tenants) > self._remembered:
            self._tenants.popitem(last=False)
