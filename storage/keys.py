"""Every key of the product.

All keys of a partition start with `{namespace:partition}:`; the braces are Redis Cluster's hash tag, so one script may touch them all.
The scripts in lua/ build the same names from the prefix, and list them in their headers.

| key after the prefix | type | holds | goes away |
| --- | --- | --- | --- |
| `tokens:<digest>` | hash | a caller's bucket of requests: its level, when it was so full | when it is full again |
| `run:<id>` | hash | state, times, counters, settings of a run | retention after the run has ended |
| `run:<id>:tasks` | hash | index → record; a pending task has none | with the run |
| `run:<id>:edges` | hash | index → predecessors that have ended | field by field when decided; with the run |
| `run:<id>:events` | list | one line an event; its place is its sequence number | with the run |
| `run:<id>:attempts` | hash | `index:attempt` → an attempt that failed or was lost | with the run |
| `run:<id>:effects` | hash | `index:name` → what is known of an effect, `index` → the names | with the run |
| `run:<id>:log` | list | what attempts have printed and logged, several lines an entry | with the run; the oldest where it is too much |
| `run:<id>:logged` | hash | `index:attempt` → how much of it is there, `index:attempt:number` → where, `*` → of all | with the run |
| `run:<id>:graph` | list | the definition, compressed, in parts | with the run; 60 s when never finished |
| `runs` | zset | run → created ms | entry: by the `forget` or `unlist` timer |
| `runs:<tenant>` | zset | the same, of the runs of a tenant that is not the default one | entry: by the `unlist` timer |
| `access` | stream | who submitted, cancelled, in order | all but about the last 10,000 (a setting) |
| `idempotency:<digest>` | string | run and body digest | with the run |
| `lanes`, `lane:<queue>/<function>` | zset | the ready queue | entry: claimed, or its run ended |
| `audits` | zset | live run → ms from which its quiet counts; `*` → ms of the next search for others | entry: its run ended; `*` stays |
| `counters` | hash | `limbo_repairs` → how often the audit found something to repair | never |
| `timers` | zset | what is due when | entry: fired |
| `lease:<claim>` | string | the pod | TTL |
| `claims:<pod>` | zset | claims that the pod holds → ms when claimed, or last listed | entry: committed, released, reaped |
| `pods` | zset | pod → deadline ms | entry: left, or reaped |
| `pod:<pod>`, `capabilities:<digest>` | string | what the pod said of itself | 12 × TTL |
| `reply:<pod>` | string | last operation id and answer | 10 min |
| `waiting`, `waiting:<digest>` | zset | idle pods by capabilities | 90 s; entry: woken |
| `inbox:<pod>` | list | wake-ups and stop requests | 60 s |
| `waits:<lane>` | list | why ready tasks of a lane, or of all (`*`), stayed there: "code from to" | 100 entries; retention |
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from storage.views import DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of one partition's keys."""

    namespace: str
    partition: int

    @property
    def prefix(self) -> str:
        return f"{{{self.namespace}:{self.partition}}}:"

    def run(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}"

    def tasks(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}:tasks"

    def events(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}:events"

    def attempts(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}:attempts"

    def effects(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}:effects"

    def log(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}:log"

    def logged(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}:logged"

    def graph(self, run_id: str) -> str:
        return f"{self.prefix}run:{run_id}:graph"

    @property
    def runs(self) -> str:
        return f"{self.prefix}runs"

    def runs_of(self, tenant: str) -> str:
        return f"{self.prefix}runs:{tenant}"

    @property
    def access(self) -> str:
        return f"{self.prefix}access"

    @property
    def counters(self) -> str:
        return f"{self.prefix}counters"

    @property
    def timers(self) -> str:
        return f"{self.prefix}timers"

    @property
    def pods(self) -> str:
        return f"{self.prefix}pods"

    def pod(self, pod_id: str) -> str:
        return f"{self.prefix}pod:{pod_id}"

    def claims(self, pod_id: str) -> str:
        return f"{self.prefix}claims:{pod_id}"

    def inbox(self, pod_id: str) -> str:
        return f"{self.prefix}inbox:{pod_id}"

    def waits(self, lane: str) -> str:
        return f"{self.prefix}waits:{lane}"


def layout_key(namespace: str) -> str:
    """The one key outside partitions: a hash with the version of this layout and the number of partitions."""
    return f"{{{namespace}}}:layout"


def idempotency_digest(key: str, tenant: str = DEFAULT_TENANT) -> str:
    """What stands for an idempotency key of a tenant in key names: 32 hex digits, whatever the caller's key holds."""
    # Keys are printable, so that no key of the default tenant looks like one of another.
    scoped = key if tenant == DEFAULT_TENANT else f"{tenant}\0{key}"
    return hashlib.sha256(scoped.encode()).hexdigest()[:32]
