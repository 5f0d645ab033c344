"""In a store that forgets nothing an audit never finds anything, whatever pods do, and at whatever moment it looks."""

from __future__ import annotations

import pytest

from storage.recount import Survey, find_repairs
from tests.support.lab import Lab
from tests.support.walk import Walk

STEPS = 120


class AuditedWalk(Walk):
    """Looks at every run after each step."""

    looks = 0

    def compare(self) -> None:
        super().compare()
        for run_id, model in self.models.items():
            words = " ".join(self.lab.graphs[run_id].words)
            with self.lab.unchanged():
                answer = self.lab.call("restore", run_id, 10_000, 0, words)
            if answer[0] == b"TERMINAL":
                assert model.state != "running"
            else:
                _, states, edges, events, put_back, counted = answer
                assert put_back == []
                survey = Survey(states.decode(), dict(zip(edges[::2], edges[1::2], strict=True)), counted, events, still=True)
                found = find_repairs(self.lab.graphs[run_id], survey)
                assert not found or model.slices, f"{survey} of {model}"
                if found:
                    decisions = [*found.free, *found.fenced]
                    with self.lab.unchanged():
                        assert self.lab.call("repair", run_id, events, found.recount, found.dead_end, *decisions)[0] == b"BUSY"
                self.looks += 1


@pytest.mark.parametrize("seed", range(4))
async def test_a_look_after_each_step_of_a_random_walk_finds_nothing_to_repair(lab: Lab, seed: int) -> None:
    walk = AuditedWalk(lab, seed)
    for step in range(STEPS):
        try:
            await walk.step()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {step}: {error}") from error
    await walk.finish()
    assert walk.looks > STEPS / 2
    assert await lab.store.limbo_repairs() == 0
