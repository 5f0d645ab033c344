"""The heartbeat call, for a thread of its own: blocking, on its own connection, with a short time limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import redis

from engine.observer import OnCall
from storage.connection import open_blocking_client, translated
from storage.keys import Keys
from storage.partition import Identity
from storage.scripts import call_blocking, observe_calls

if TYPE_CHECKING:
    from storage.gate import Rig
    from storage.topology import Route

REFS_PER_CALL = 250


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a heartbeat learned."""

    standing: Literal["OK", "NEW", "GAP"]
    """`GAP`: this pod's own deadline had passed; it must not judge others for one TTL. `NEW`: it had none."""
    lost: list[str]
    """Claim ids that are not current any more: another pod may have the task."""
    stop: list[str]
    """Claim ids whose run has ended."""
    revived: int
    put_back: int
    """Claims that this pod never heard of, returned to the queue uncharged."""
    now_ms: int
    """The server's clock."""


class HeartbeatConnection:
    """Keeps a pod's leases in one partition. Not thread-safe: it belongs to the heartbeat thread."""

    def __init__(
        self, url: str, keys: Keys, address: str, *, timeout_seconds: float, route: Route | None = None, rig: Rig | None = None
    ) -> None:
        """`route` leads to the server where the URL does not name it."""
        if rig is None:
            self._client: redis.Redis = open_blocking_client(url, timeout_seconds=timeout_seconds, route=route)
        else:
            client = open_blocking_client(url, timeout_seconds=timeout_seconds, name=rig.client_name, route=route)
            self._client = rig.around_blocking(client)
        self._keys, self._address = keys, address

    def observe_calls(self, on_call: OnCall) -> None:
        """From now on `on_call` hears of each heartbeat call, in the thread that makes it."""
        observe_calls(self._client, on_call)

    def beat(
        self, who: Identity, refs: Sequence[str], *, unheard_before_ms: int = 0, capabilities: str = "", description: str = ""
    ) -> Pulse:
        """Extends the pod's deadline and all leases in `refs`. Claims made before
        `unheard_before_ms` (by the server's clock) that are not in `refs` were never received, and go back.

        Raises StorageUnavailable or StorageRefused; calling again is always safe.
        """
        pulses: list[Pulse] = []
        batches = [refs[at : at + REFS_PER_CALL] for at in range(0, len(refs), REFS_PER_CALL)] or [[]]
        for number, batch in enumerate(batches, 1):
            # All but the last call note when they listed their claims; the last one looks for claims that none has listed.
            unheard = min([unheard_before_ms, *(pulse.now_ms for pulse in pulses)]) if number == len(batches) else 0
            with translated(self._address):
                answer = call_blocking(
                    self._client, "heartbeat", self._keys.prefix,
                    who.pod_id, who.ttl_ms, unheard, who.capabilities_digest, capabilities, description, *batch,
                )  # fmt: skip
            pulses.append(Pulse(*answer))
        return Pulse(
            pulses[0].standing,
            [claim for pulse in pulses for claim in pulse.lost],
            [claim for pulse in pulses for claim in pulse.stop],
            sum(pulse.revived for pulse in pulses),
            sum(pulse.put_back for pulse in pulses),
            pulses[-1].now_ms,
        )

    def disconnect(self) -> None:
        """Drops the connection; the next beat opens another."""
        self._client.close()
        self._client.connection_pool.disconnect()
