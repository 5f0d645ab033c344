"""What the checker looks for: the invariants of the product, by the module that holds each.

| invariant | says | seen here in | and inside, where no reader sees it |
| --- | --- | --- | --- |
| S1 | one current claim a task; no claim twice | `moves`, `claims` | claim ids: tests of `claim`, tests/integration/storage |
| S2 | a claim that is not current changes nothing | `moves`, `claims`, `readings` | test_commit_refusals.py: every key before and after |
| S3 | one end a task, one end a run, for good | `moves`, `readings`, `answers` | |
| S4 | nothing starts before its predecessors decide it | `parents` | in-degrees: walks over all scripts (below) |
| S5 | a task is in exactly one place | `moves`; counters: `run_ends` (as S12) | queue, leases, timers: walks |
| S6 | what is charged | `attempts` | |
| S7 | what runs has a lease or a deadline that the reaper sees | | walks, test_reap.py, test_heartbeat.py |
| S8 | a pod that lives loses nothing | `pods`, for pods that the caller names | tests/chaos: outages, blocked loops |
| S9 | cancel against commit: one winner | `moves`, `answers` | test_cancel.py, walks |
| S10 | one idempotency key, one run | `posts` | test_idempotency.py |
| S11 | a refused post leaves nothing | `posts`, `leftovers` | staged parts: test_stage_run.py |
| S12 | a run's state, end and counters follow from its tasks | `run_ends`, `moves` | |
| S13 | events: dense, once, and the state is what they lead to | `event_log`, `readings` | |
| S14 | fencing tokens grow | `claims` | across a failover: test_claim.py |
| S15 | slots under a limit | | there are no limits yet |
| S16 | timers: once, never early | `timers` | test_fire_timers.py |
| S17 | a repeated call changes nothing and answers the same | | test_lost_replies.py, walks: no key differs |
| S18 | no key without an owner | `leftovers`, for keys that the caller found | the key check of every test: tests/support/key_leaks.py |
| S19 | secrets show nowhere | `hidden`, for values that the caller names | logs: tests/unit/api/test_logging.py |
| L1 | accepted runs are there, and end | `posts` | how fast: peerflow.testing.recovery |
| L6 | nothing to repair where Redis forgets nothing | `pods` | |
| E1 | an effect of `ctx.once` is confirmed at most once | `effects` | |

Files without a folder are in tests/integration/storage; "walks" are the tests there that call all scripts at random and compare every
place that a task may be in after each call.

A fault is reported once, under the first invariant that it breaks: the replay then believes the event and goes on. Two faults in one, such
as a task whose state is neither that of its events nor counted, are reported as two.
"""
