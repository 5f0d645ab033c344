"""Runs, tasks and leases in Redis or Valkey: the only package that knows a key or imports redis.

**Identity.** Every attempt is a claim with a random 128-bit id that its pod made: 30 hex digits name the pod's operation, two more the
claim within it. No id is used twice, across pods, restarts and failovers.

**Authority.** A claim is current while the task's record names it, and only then. The lease key says that the pod lives; the record says
whose the task is. Every ending goes through one guard inside the script that writes it (`held` in lua/lib/returning.lua): a commit by
any other claim changes nothing. So leases decide only *when* a task moves on, never *whose* result counts.

**Trust window.** A pod's deadline and its leases are renewed together, at a third of the TTL. A pod judges others only while its own
deadline is in the future, and not for one TTL after it was found in the past: then Redis was away, or its clock jumped, and everyone
looks dead. A missing lease whose record still names the claim is revived, so an outage of Redis, however long, takes nothing from
living pods. A claim whose answer never reached its pod is not in the pod's list and goes back uncharged.

**Repetition.** Calls that change something are sent once by redis-py; repeating is ours (`storage.repeat`), with the same operation id.
The script keeps each pod's last answer and gives it again.

**What is not guaranteed.** A claim whose code runs on after it was lost may still act on the outside world; `ctx.fencing_token` and
`ctx.effect_key` are for that. After a failover Redis may have forgotten its last moments: an earlier consistent state is left, and
tasks of that time run again.

Every change of state is one script in lua/, atomic, bounded, and written as: read, fence, decide, write once at the end.
"""
