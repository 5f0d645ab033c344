"""Whatever is taken out of the indexes, the audit brings the run to the end that it would have come to."""

# redis-py does not annotate its **kwargs.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.events import LimboRepaired
from tests.support.damage import Drive, counts_agree, random_document, take
from tests.support.lab import Lab

quickly = settings(
    deadline=None, max_examples=80, derandomize=False, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def wrong_counts(lab: Lab, run_id: str, by: int) -> None:
    lab.client.hincrby(lab.keys.run(run_id), "succeeded", -by)
    lab.client.hincrby(lab.keys.run(run_id), "ready", by)


@quickly
@given(
    seed=st.integers(0, 2**32),
    steps=st.integers(0, 25),
    taken=st.lists(st.integers(0, 1_000), max_size=6),
    dies=st.booleans(),
    miscounted=st.integers(0, 2),
    at_once=st.booleans(),
)
async def test_a_damaged_run_comes_to_the_end_that_it_would_have_come_to(
    lab: Lab, seed: int, steps: int, taken: list[int], dies: bool, miscounted: int, at_once: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scheduler.auditor.BUSY_SECONDS", 0)
        await damaged(lab, random.Random(seed), steps, taken, dies=dies, miscounted=miscounted, at_once=at_once)
    lab.client.delete(*lab.client.keys(lab.key("*")))


async def damaged(lab: Lab, source: random.Random, steps: int, taken: list[int], *, dies: bool, miscounted: int, at_once: bool) -> None:
    run_id = await lab.create(random_document(source) | {"on_failure": "continue"})
    drive = Drive(lab, run_id, source)
    for _ in range(steps):
        await drive.step()
    if lab.run_field(run_id, "state") == "running":
        if dies:
            drive.die()
        for choice in taken:
            take(lab, run_id, choice)
        wrong_counts(lab, run_id, miscounted)
        if at_once:
            drive.looks_that_repaired += bool(await drive.auditor.look(run_id))
        await drive.finish()
        assert lab.states(run_id) == drive.expected()
        assert counts_agree(lab, run_id)
        failed = any(
            state == "failed" and not task.allow_failure for task, state in zip(drive.graph.tasks, drive.expected().values(), strict=True)
        )
        assert lab.run_field(run_id, "state") == ("failed" if failed else "succeeded")
        assert bool(drive.published.of(LimboRepaired)) == bool(drive.looks_that_repaired)
