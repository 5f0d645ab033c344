"""Who a pod is, what it is told, and what it says of itself."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256

from scheduler.heart import RETRY_SECONDS, Description
from scheduler.registry import Registry
from scheduler.timers import LOOK_SECONDS
from storage.partition import Identity
from storage.task_logs import LogCaps


@dataclass(frozen=True, slots=True, kw_only=True)
class PodOptions:
    """What a pod is told; durations in seconds."""

    concurrency: int = 100
    queues: tuple[str, ...] = ("default",)
    lease_ttl_seconds: float = 10.0
    max_lost: int = 3
    audit_after_seconds: float = 30.0
    """A live run in which nothing happens for so long is looked at: is there something that can happen?"""
    processes: int = 1
    result_bytes: int = 256 * 1024
    version: str = "0"
    leave_seconds: float = 5.0
    """How long a leaving pod waits for storage before it leaves without a word."""
    unheard_seconds: float = 5.0
    """Twice the time limit of a claim call: an older claim that this pod does not list never reached it."""
    beat_retry_seconds: float = RETRY_SECONDS
    """Between two heartbeats that failed; less than a third of the TTL."""
    look_seconds: float = LOOK_SECONDS
    """How often a pod looks for timers of pods that died."""
    log_caps: LogCaps = field(default_factory=LogCaps)
    """How much is kept of what attempts print and log, where anything captures it."""
    verbose: bool = False
    """Publish an event for every claim and every success too, which costs a tenth of the speed or more."""


def new_pod_id() -> str:
    """Host name and 8 random hex digits: new at each start, so that a restarted pod is never taken for its predecessor."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.urandom(4).hex()}"


def capabilities_of(queues: Iterable[str], functions: Iterable[str]) -> tuple[str, str]:
    """The string in which scripts look a pod's queues and functions up, and its digest."""
    text = " " + " ".join([*(f"q:{queue}" for queue in sorted(queues)), *(f"f:{name}" for name in sorted(functions))]) + " "
    return text, sha256(text.encode()).hexdigest()[:16]


class Passport:
    """A pod's identities, and its description. Never changes, so that the heartbeat thread may read it."""

    def __init__(self, registry: Registry, options: PodOptions) -> None:
        self._registry, self._options = registry, options
        self._started_at_ms = time.time_ns() // 1_000_000
        in_children = [function.name for function in registry if function.kind == "process"]
        self._capabilities, digest = capabilities_of(options.queues, set(registry.names()).difference(in_children))
        self.who = Identity(new_pod_id(), digest, int(options.lease_ttl_seconds * 1000))
        self.for_processes: Identity | None = None
        """Functions that need a child process are claimed by an identity of their own: there is room for few of them."""
        self._others: tuple[tuple[Identity, str], ...] = ()
        if in_children:
            capabilities, digest = capabilities_of(options.queues, in_children)
            self.for_processes = replace(self.who, capabilities_digest=digest)
            self._others = ((self.for_processes, capabilities),)

    def describe(self, state: str) -> Description:
        """What storage keeps of this pod."""
        catalog = [
            {
                "name": function.name,
                "kind": function.kind,
                "description": function.description,
                "parameters": function.parameters,
            }
            for function in self._registry
        ]
        text = json.dumps(
            {
                "host": socket.gethostname(),
                "version": self._options.version,
                "state": state,
                "started_at_ms": self._started_at_ms,
                "ttl_ms": self.who.ttl_ms,
                "concurrency": self._options.concurrency,
                "queues": list(self._options.queues),
                "catalog": catalog,
            }
        )
        return Description(self._capabilities, text, self._others)
