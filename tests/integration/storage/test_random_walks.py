"""Whatever order things happen in, the store is what a small model says: states, attempts, counters, queue, leases, timers, events."""

from __future__ import annotations

from collections import Counter

from tests.support.lab import Lab
from tests.support.servers import EMBEDDED, Server
from tests.support.walk import Walk

STEPS = 150
MET: Counter[str] = Counter()
"""Over all walks."""
EXPECTED = {
    "OK", "STALE", "TERMINAL", "lost", "lost claims", "claims to stop", "cancelled", "slice OK", "slice TERMINAL",
    "create", "claim", "commit", "repeat", "release", "beat", "forget_a_reply", "go_silent", "fire", "pass_on", "cancel",
}  # fmt: skip


async def test_random_walks_of_two_pods_agree_with_the_model_at_every_step(lab: Lab, server: Server) -> None:
    # A few show that another make of server does the same.
    for seed in range(8 if server.name == EMBEDDED else 2):
        walk = Walk(lab, seed)
        for step in range(STEPS):
            try:
                await walk.step()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, step {step}: {error}") from error
        await walk.finish()
        MET.update(walk.met)
        assert walk.met.keys() >= {"OK", "STALE"}


async def test_the_walks_meet_every_kind_of_step_and_answer(lab: Lab) -> None:
    for seed in range(100, 104):
        walk = Walk(lab, seed)
        for _ in range(STEPS):
            await walk.step()
        await walk.finish()
        MET.update(walk.met)
        if MET.keys() >= EXPECTED:
            return
    assert MET.keys() >= EXPECTED
