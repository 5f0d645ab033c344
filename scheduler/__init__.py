"""A pod's work: claim, execute, commit; heartbeat, reap, fire timers, pass ends on.

**One loop, one file.** `claimer` moves tasks through the pod. `heart` keeps what the pod holds. `reaper` takes what dead pods held.
`timers` fires what is due. `passing` tells the successors that a commit had no room for. `inbox` wakes the pod. `pod` wires them and
owns them. Each has `run_once()` for tests and `run()` around it; none polls faster than its next known event.

**Who may touch what.** Everything but the heartbeat happens in the event loop's thread. The heartbeat is a thread with its own connection
and reads one thing of the others: the list of claims (`holdings`).

**Failure.** A storage call that fails is repeated, with the same operation id where it changes something, for as long as it takes; what
has run is never thrown away because Redis was out of reach. A pod that was cut off for longer than its leases finds out from its next
heartbeat or commit which attempts are not its own any more, stops them and drops their results.

**What is not guaranteed.** User code may run more than once: when its pod dies, is cut off, or is stopped before it ended. Its effect on
the run's state counts once.
"""
